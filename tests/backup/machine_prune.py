"""Pruning in the state machine over backups: by any policy, and dying at any call."""

import contextlib
import random
from collections import Counter

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule
from machine_damage import METADATA
from machine_source import seeds

from pytest_drdrill.backup import RetentionPolicy

DAY = 86_400
PERIODS = ["keep_hourly", "keep_daily", "keep_weekly", "keep_monthly", "keep_yearly"]

met = Counter()  # what happened, over all examples and all parts of the machine

PAUSES = [0, 0, 1800, DAY, 8 * DAY, 40 * DAY]
RULES = [{"keep_last": 1}, {"keep_last": 1}, {"keep_last": 2}, {"keep_within": "1h"}]
RULES += [{"keep_within": "10d"}, *({period: number} for period in PERIODS for number in (1, 3))]
FURTHER = [{}, {}, {"min_count": 2}, {"min_count": 4}, {"immutable_for": "2d"}, *RULES]


def policy_of(chance):
    return RetentionPolicy(**chance.choice(FURTHER) | chance.choice(RULES))


class Died(BaseException):
    """The process is gone."""


class PrunedBackups(RuleBasedStateMachine):
    """Backups that a policy removes; where and which they are is what a machine sets up."""

    @precondition(lambda self: self.recorded)
    @rule(seed=seeds)
    def prune(self, seed):
        chance = random.Random(seed)
        self.clock.advance(chance.choice(PAUSES))
        policy = policy_of(chance)
        before = self.listed()
        planned = self.full.prune_backups(self.vault, policy, dry_run=True)
        assert self.listed() == before
        result = self.full.prune_backups(self.vault, policy)
        assert (result.kept, result.pruned) == (planned.kept, planned.pruned)
        assert list(result.kept) == [job.id for job in self.all_listed()]
        assert all(result.kept.values())
        self.check_pruned(before, policy)
        met["prunings"] += 1
        met["pruned"] += len(result.pruned)
        met["kept for others"] += "needed by" in str(result.kept.values())
        met["kept for what is unknown"] += "can be told" in str(result.kept.values())
        if METADATA not in {name for _, name in self.whole}:
            assert self.vault_folders() == sorted(self.recorded)

    @precondition(lambda self: self.recorded)
    @rule(seed=seeds, is_late=st.booleans())
    def prune_that_dies(self, seed, is_late):
        chance = random.Random(seed)
        self.clock.advance(chance.choice(PAUSES))
        policy = policy_of(chance)
        calls = chance.randrange(15 if is_late else 150)
        before = self.listed()
        planned = self.full.prune_backups(self.vault, policy, dry_run=True)
        with contextlib.suppress(Died), self.dying(calls, is_late=is_late):
            self.full.prune_backups(self.vault, policy)
            met["outlived a pruning"] += 1
        gone = self.check_pruned(before, policy)
        assert gone <= set(planned.pruned)
        met["pruned in part"] += bool(gone) and len(gone) < len(planned.pruned)
        met["removed in part"] += len(self.vault_folders()) > len(self.recorded)

    def dying(self, calls, *, is_late):
        """Late: after so many calls once something was removed."""
        raise NotImplementedError

    def check_pruned(self, before, policy):
        """What went was nobody's, what stays is whole and restores; returns what went."""
        left = {job.id for job in self.all_listed()}
        gone = {job.id for job in before} - left
        assert left <= {job.id for job in before}
        ages = {job.id: self.clock.now() - job.recovery_point for job in before}
        for span in filter(None, (policy.keep_within, policy.immutable_for)):
            assert not {job_id for job_id in gone if ages[job_id] < span}
        assert not gone & {job.id for job in before[: policy.keep_last]}
        assert not gone & {job.id for job in [job for job in before if job.verified_at][:1]}
        assert len(left) >= min(policy.min_count, len(before))
        for period in PERIODS:
            if getattr(policy, period):  # the newest is the newest of its period
                assert not gone & {job.id for job in before[:1]}
        for job_id in gone:
            del self.recorded[job_id]
        for key in [key for key in self.whole if key[0] in gone]:
            del self.whole[key]
        # Those that can't be read now may be again.
        folders = set(self.vault_folders())
        for record in self.recorded.values():
            assert record.needed <= folders, record.job.id
        self.check_all()
        return gone
