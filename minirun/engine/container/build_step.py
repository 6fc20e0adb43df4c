"""The container of a build's step: it runs in the foreground, has no record, and leaves what it has written.

Without a record nobody sees it: no `ps` lists it and no `prune` takes it. While it is brought up its lock is the
build's, and then its monitor's, as for any other; so whatever is killed, the next command finds what is left of it.
"""

from __future__ import annotations

import _signal as signal  # the C part of `signal`, which would bring `enum` along, for 5 ms
import os
import time

from minirun.engine.container import attaching, bundle_lock, monitor_client, publishing, records
from minirun.engine.container.attaching import Attachment
from minirun.engine.container.ending import send_signal
from minirun.engine.container.starting import bring_up, let_go
from minirun.engine.shim import cleanup
from minirun.engine.spec import host_cgroups
from minirun.engine.spec.build import arguments
from minirun.kernel.hostfiles import make_private
from minirun.kernel.session.undisturbed import undisturbed
from minirun.model.container import ContainerRecord
from minirun.network import drivers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from minirun.engine.container.bundle_lock import BundleLock
    from minirun.engine.shim.launch import Launched
    from minirun.model.container import RunRequest
    from minirun.model.image import Image
    from minirun.model.layout import Layout
    from minirun.storage.ingest import Ingest

    T = TypeVar("T")

_STREAMS = frozenset({"stdout", "stderr"})


def run(
    layout: Layout, ingest: Ingest, image: Image, request: RunRequest, take: Callable[[int], T]
) -> tuple[int, T | None]:
    """Run a command in a container that is made of `image`, until its end; its output is this process's.

    Return its exit code, and if that is 0 what `take` makes of the directory with all that it has changed, which it is
    given as a descriptor. `ingest` notes the container: if this process is killed, the next command ends it. Raises
    MinirunError.
    """
    driver = drivers.find(request.network)
    network = driver.set_up(layout)
    container_id = records.new_id()
    record = ContainerRecord(
        id=container_id,
        name=container_id[:12],
        image=request.image,
        image_id=image.id,
        command=arguments(request, image.config),
        created_at=time.time(),
        request=host_cgroups.with_fitting_namespace(request),
    )
    lock = bundle_lock.take(layout, container_id)
    assert lock, "the id is new"
    launched: Launched | None = None
    ingest.note(f"{cleanup.STEP}{container_id}")
    try:
        make_private(layout.container(container_id))
        reserved = publishing.reserve(layout, record, driver, network)
        record = record.replace(endpoint=reserved.endpoint)
        launched = bring_up(layout, record, lock, reserved, image)
        lock.release()
        let_go(layout, record, launched, driver, Attachment(_STREAMS))
        ended = attaching.attach(launched.control, stdin=False, tty=False)
        assert not isinstance(ended, attaching.Detached), "there is no standard input to type that at"
        made = None
        if not ended.code:
            upper = os.open(f"{layout.container(container_id)}/upper", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                made = take(upper)
            finally:
                os.close(upper)
    except BaseException:
        with undisturbed():
            _end(layout, record, launched, lock)
            ingest.forget(f"{cleanup.STEP}{container_id}")
        raise
    cleanup.tear_down(layout, container_id)
    monitor_client.say_cleaned(launched.control)
    launched.control.close()
    os.waitpid(launched.monitor, 0)
    ingest.forget(f"{cleanup.STEP}{container_id}")
    return ended.code, made


def _end(layout: Layout, record: ContainerRecord, launched: Launched | None, lock: BundleLock) -> None:
    """Kill the container if it runs, and wait until it is taken down."""
    if launched:
        send_signal(layout, record, signal.SIGKILL)
        launched.control.close()
        lock.release()
        taken = bundle_lock.take(layout, record.id)  # from the monitor, when it has cleaned up
        if taken is None:
            return
        lock = taken
    cleanup.tear_down(layout, record.id, lock)
