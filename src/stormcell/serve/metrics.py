"""Metrics for Prometheus: of the requests, of what is published, and of the loop that publishes."""

import time
from collections.abc import Iterator

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stormcell.errors import PublicationError
from stormcell.published.manifest import Scores
from stormcell.serve.watch import Watch

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)


class Metrics:
    """The metrics of a server.

    Args:
        watch: The published folder.
    """

    MEDIA_TYPE = CONTENT_TYPE_LATEST

    def __init__(self, watch: Watch) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_State(watch))
        self._requests = Counter(
            "stormcell_requests_total", "Answered requests", ("route", "status"), registry=self._registry
        )
        self._seconds = Histogram(
            "stormcell_request_seconds",
            "Time until an answer is complete",
            ("route",),
            buckets=_SECONDS,
            registry=self._registry,
        )

    def count(self, route: str, status: int, seconds: float) -> None:
        """Count a request."""
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def text(self) -> bytes:
        """Return all metrics in Prometheus's text format."""
        return generate_latest(self._registry)


class Counted:
    """Count the requests of an application. Addresses count under their route, unknown ones together."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status, start = 500, time.perf_counter()

        async def send_and_note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, send_and_note)
        finally:
            route = getattr(scope.get("route"), "path", None) or "other"
            self._metrics.count(route, status, time.perf_counter() - start)


class _State:
    """Metrics of the published folder and of the loop, read when they are asked for."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics."""
        watch = self._watch
        ready = watch.is_ready and not watch.is_stale
        yield _gauge("stormcell_ready", "Whether /readyz answers 200", float(ready))
        yield _gauge(
            "stormcell_stale",
            "Whether the newest forecast is not of now",
            float(watch.is_stale),
        )
        yield _gauge("stormcell_event_clients", "Clients that wait for events", float(watch.subscribers))
        yield _gauge("stormcell_publications_loaded", "Publications since the start", float(watch.loaded))
        if watch.is_ready:
            newest = watch.newest
            manifest = newest.publication.manifest
            issued, published = newest.latest.issue.timestamp(), newest.latest.published.timestamp()
            yield _gauge("stormcell_issue_timestamp_seconds", "Issue time of the newest forecast", issued)
            yield _gauge("stormcell_published_timestamp_seconds", "When it was published", published)
            yield _gauge("stormcell_observed_share", "Share of the grid observed", manifest.observed_share)
            degraded = float(manifest.degraded is not None)
            yield _gauge("stormcell_degraded", "Whether the forecast is not the wanted one", degraded)
        yield from self._loop()
        yield from self._scores()

    def _loop(self) -> Iterator[Metric]:
        status = self._watch.status
        if status is None:
            return
        updated = status.updated.timestamp()
        yield _gauge("stormcell_loop_updated_timestamp_seconds", "Last turn of the loop", updated)
        missing = float(status.missing_frames_1h)
        yield _gauge("stormcell_loop_missing_frames", "Frames missing in the last hour", missing)
        problems = float(len(status.problems))
        yield _gauge("stormcell_loop_problems", "Problems that status.json describes", problems)
        files = GaugeMetricFamily("stormcell_loop_files", "Files since the start", labels=["outcome"])
        for outcome, count in status.files.items():
            files.add_metric([outcome], count)
        yield files
        stages = GaugeMetricFamily(
            "stormcell_loop_stage_seconds", "Time that the newest frame took", labels=["stage"]
        )
        for stage, seconds in status.stages.items():
            stages.add_metric([stage], seconds)
        yield stages

    def _scores(self) -> Iterator[Metric]:
        try:
            found = self._watch.shelf.scores()
        except PublicationError:
            return
        yield _score("mae", "Mean absolute error in mm/h", found)
        yield _score("csi", "Critical success index", found, "threshold")
        yield _score("bias", "Frequency bias", found, "threshold")


def _score(name: str, text: str, periods: list[Scores], *more: str) -> Metric:
    """Return a score by period, forecaster, lead time and what else it depends on."""
    labels = ["period", "forecaster", "lead_minutes", *more]
    family = GaugeMetricFamily(f"stormcell_score_{name}", text, labels=labels)
    for scores in periods:
        for forecaster, values in scores.forecasters.items():
            for own, by_lead in _by_threshold(values.get(name)):
                for lead, value in zip(scores.lead_minutes, by_lead, strict=False):
                    if value is not None:
                        family.add_metric([scores.period, forecaster, f"{lead:g}", *own], value)
    return family


def _by_threshold(found: object) -> Iterator[tuple[list[str], list[float | None]]]:
    """Yield the values by lead time of a score, with its threshold if it has any."""
    if isinstance(found, list):
        yield [], found
    elif isinstance(found, dict):
        for threshold, values in found.items():
            yield [threshold], values


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)
