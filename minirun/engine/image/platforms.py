"""Whether an image is for this machine, or for the platform that was asked for."""

from __future__ import annotations

from minirun.errors import MissingImageError, warn
from minirun.kernel.cpu import host_architecture

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minirun.model.container import RunRequest
    from minirun.model.image import Image


def checked(image: Image, request: RunRequest) -> Image:
    """Return the image if it is for the platform that was asked for; if none was, warn of an image for another host.

    The kernel may hand a foreign program to an emulator (binfmt_misc), so foreign images are not refused. Raises
    MissingImageError.
    """
    wanted = request.platform
    if not wanted and (image.os, image.architecture, image.variant) == ("linux", host_architecture(), ""):
        return image
    from minirun.kernel.cpu import host_platform
    from minirun.model.platform import normalised

    actual = normalised(image.os, image.architecture, image.variant)
    if wanted:
        if normalised(*wanted.split("/")).preference(actual) < 0:
            raise MissingImageError(
                f"image with reference {request.image} was found but does not match the specified platform: wanted "
                f"{wanted}, actual: {actual}",
                "Leave --platform out, or pull or load an image of that platform.",
            )
        return image
    host = host_platform()
    if host.preference(actual) < 0:
        warn(
            f"The requested image's platform ({actual}) does not match the detected host platform ({host}) and no "
            "specific platform was requested"
        )
    return image
