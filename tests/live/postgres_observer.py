"""A client in a process of its own: writes a row each 5 ms, and notes what became of it.

Prints a line a write: its key, when it was sent and when it ended by the machine's monotonic clock,
and whether it was acknowledged. Ends when its input does.
"""

import sys
import threading
import time

import psycopg

INTERVAL = 0.005


def main(dsn):
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    connection, number = None, 0
    while not ended.is_set():
        number += 1
        key, sent, good = f"observer-{number}", time.monotonic(), False
        try:
            if connection is None:
                connection = psycopg.connect(dsn, autocommit=True, connect_timeout=2)
            connection.execute("insert into observed values (%s)", (key,))
            good = True
        except psycopg.Error:
            if connection is not None:
                connection.close()
            connection = None
        print(key, sent, time.monotonic(), int(good), flush=True)
        time.sleep(max(0, sent + INTERVAL - time.monotonic()))


main(sys.argv[1])
