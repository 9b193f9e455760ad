"""Damage to what the state machine over backups made, and what it concerns."""

import os
import random

from hypothesis import note
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule
from machine_source import seeds, some

TAR, MANIFEST, METADATA = "data.tar", "manifest.jsonl", "metadata.json"


class DamagedBackups(RuleBasedStateMachine):
    """Backups that are damaged and repaired; where and which they are is what a machine sets up.

    ``whole`` keeps what damaged files were, by the backup's id and their name.
    """

    @rule(seed=seeds, name=st.sampled_from([TAR, TAR, MANIFEST, METADATA]))
    def damage(self, seed, name):
        chance = random.Random(seed)
        for path in some(chance, self.parts(name)):
            data = bytearray(path.read_bytes())
            self.whole.setdefault((path.parent.name, name), bytes(data))
            # Most of a tar is zeros, which nobody reads but who verifies it.
            places = range(len(data))
            if chance.random() < 0.7:
                places = [place for place in places if data[place]] or places
            data[chance.choice(places)] ^= chance.randrange(1, 256)
            path.write_bytes(data)
            if data == self.whole[path.parent.name, name]:
                del self.whole[path.parent.name, name]
            note(f"{path} is damaged")
            self.check_some(chance)

    @rule(seed=seeds, is_cut=st.booleans())
    def lose(self, seed, is_cut):
        chance = random.Random(seed)
        for path in some(chance, self.parts(TAR)):
            self.whole.setdefault((path.parent.name, TAR), path.read_bytes())
            if is_cut:
                os.truncate(path, chance.randrange(path.stat().st_size))
            else:
                path.unlink()
            note(f"{path} is lost")
            self.check_some(chance)

    @rule()
    def repair(self):
        for (job_id, name), data in self.whole.items():
            (self.vault / job_id / name).write_bytes(data)
        self.whole.clear()

    def parts(self, name):
        """The files of that name that hold anything; none where enough are damaged."""
        if len(self.whole) > 1:
            return []
        paths = [self.vault / job_id / name for job_id in self.recorded]
        return [path for path in paths if path.is_file() and path.stat().st_size]

    def now(self, job_id, name):
        path = self.vault / job_id / name
        return path.read_bytes() if path.exists() else None

    def is_unrestorable(self, record):
        """Whether damage touched anything that a restore needs."""
        if (record.owner, MANIFEST) in self.whole:
            return True
        for entry in record.entries:
            key = entry["backup"], TAR
            if entry["type"] == "file" and key in self.whole:
                data = self.now(*key)
                pieces = entry.get("data", [[0, entry["size"]]])  # of a sparse file
                stored = sum(length for _, length in pieces)
                content = slice(entry["offset"], entry["offset"] + stored)
                if data is None or len(data) < content.stop:
                    return True
                if data[content] != self.whole[key][content]:
                    return True
        return False

    def is_visibly_damaged(self, record):
        """Whether a quick verification has to see damage."""
        if (record.owner, MANIFEST) in self.whole:
            return True
        for job_id in record.needed:
            if job_id != record.job.id and (job_id, METADATA) in self.whole:
                return True
            if (job_id, TAR) in self.whole:
                data = self.now(job_id, TAR)
                if data is None or len(data) != len(self.whole[job_id, TAR]):
                    return True
        return False
