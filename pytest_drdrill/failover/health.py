"""From single checks to the health of an endpoint: counts in a row, nothing else."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_drdrill.failover.endpoint import HealthStatus


@dataclass(slots=True)
class HealthTracker:
    """Consecutive results turned into a status.

    ``failure_threshold`` failed checks in a row make an endpoint unhealthy,
    ``recovery_threshold`` successful ones bring an unhealthy one back. An unknown one is healthy
    from its first success on: nothing has been held against it yet.

    Attributes:
        failure_threshold: failed checks in a row that it takes to go down.
        recovery_threshold: successful checks in a row that it takes to come back.
        status: what the checks so far say.
        failures: failed checks in a row, up to now.
        successes: successful checks in a row, up to now.
    """

    failure_threshold: int
    recovery_threshold: int
    status: HealthStatus = HealthStatus.UNKNOWN
    failures: int = 0
    successes: int = 0

    def observe(self, healthy: bool) -> bool:
        """Count one result; returns whether it changed the status."""
        before = self.status
        if healthy:
            self.failures = 0
            self.successes += 1
            if before is HealthStatus.UNKNOWN or self.steady:
                self.status = HealthStatus.HEALTHY
        else:
            self.successes = 0
            self.failures += 1
            if self.failures >= self.failure_threshold:
                self.status = HealthStatus.UNHEALTHY
        return self.status is not before

    def repeat(self, times: int) -> None:
        """Count the last result so many times more, where that changes no status."""
        if self.failures:
            self.failures += times
        else:
            self.successes += times

    @property
    def steady(self) -> bool:
        """Whether the last checks alone would bring it back: what traffic returns to must be."""
        return self.successes >= self.recovery_threshold

    @property
    def in_transition(self) -> bool:
        """Whether the last check was a step towards another status, with more steps to go."""
        if self.status is HealthStatus.UNHEALTHY:
            return self.successes > 0
        return self.failures > 0
