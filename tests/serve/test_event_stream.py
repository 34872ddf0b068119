import asyncio
import json
from datetime import timedelta

from tests.serve.publications import ISSUE, NAME, STEP, publish_issue
from tests.serve.test_alert_routes import publish_alerts

from stormcell.published.manifest import Status
from stormcell.published.writing import write_status
from stormcell.serve.event_stream import stream
from stormcell.serve.watch import Watch


def parsed(event):
    lines = [line.partition(": ") for line in event.decode().splitlines() if line]
    return {name: value for name, _, value in lines}


def states(event):
    return [alert["state"] for alert in json.loads(event["data"])["alerts"]]


def changed(watch):
    watch.look()
    watch.tell()


def test_stream_sends_the_present_state_then_each_change(published):
    publish_issue(published)
    write_status(published, Status(updated=ISSUE, state="waiting"))
    watch = Watch(published, lambda: ISSUE)
    watch.look()

    async def listen():
        events = stream(watch)
        assert parsed(await anext(events)) == {"retry": "3000"}
        issue = parsed(await anext(events))
        assert (issue["event"], issue["id"]) == ("issue", NAME)
        assert json.loads(issue["data"]) == json.loads((published / "latest.json").read_text())
        status = parsed(await anext(events))
        assert (status["event"], json.loads(status["data"])["state"]) == ("status", "waiting")
        publish_issue(published, ISSUE + STEP, "00000002")
        changed(watch)
        assert parsed(await anext(events))["id"].endswith("-00000002")
        await events.aclose()

    asyncio.run(listen())
    assert watch.subscribers == 0


def test_stream_status_with_only_a_new_time_is_no_news(published):
    publish_issue(published)
    write_status(published, Status(updated=ISSUE, state="waiting"))
    watch = Watch(published, lambda: ISSUE)
    watch.look()

    async def listen():
        events = stream(watch, alive=0.01)
        for _ in range(3):
            await anext(events)
        write_status(published, Status(updated=ISSUE + timedelta(seconds=1), state="waiting"))
        changed(watch)
        assert await anext(events) == b":\n\n"  # the comment that keeps the connection
        write_status(published, Status(updated=ISSUE + timedelta(seconds=2), state="working"))
        changed(watch)
        assert json.loads(parsed(await anext(events))["data"])["state"] == "working"
        await events.aclose()

    asyncio.run(listen())


def test_stream_sends_alerts_again_when_they_become_unknown(published):
    publish_alerts(published)
    now = ISSUE
    watch = Watch(published, lambda: now)
    watch.look()

    async def listen():
        nonlocal now
        events = stream(watch)
        for _ in range(3):
            await anext(events)
        alerts = parsed(await anext(events))
        assert (alerts["event"], states(alerts)) == ("alerts", ["raised"])
        now = ISSUE + timedelta(hours=1)
        changed(watch)
        assert states(parsed(await anext(events))) == ["unknown"]
        await events.aclose()

    asyncio.run(listen())


def test_stream_before_the_first_forecast_waits(published):
    watch = Watch(published, lambda: ISSUE)

    async def listen():
        events = stream(watch, alive=0.01)
        await anext(events)
        assert await anext(events) == b":\n\n"
        publish_issue(published)
        changed(watch)
        assert parsed(await anext(events))["event"] == "issue"
        await events.aclose()

    asyncio.run(listen())
