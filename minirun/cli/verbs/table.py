"""Which verbs there are, and which file has each.

A verb's module is imported when it is called and not before: `minirun run` must not pay for the others. Each has a
table VERBS of its own.
"""

from __future__ import annotations

from minirun.cli.grammar import Flag, Verb, switch, text
from minirun.model.layout import DEFAULT_ROOT, DEFAULT_STATE
from minirun.model.record import Record


class Group(Record):
    """A word that is followed by verbs, such as "image".

    `verbs` says in which module below this package each is, and under which name if that is another one there; "" is a
    group of its own."""

    about: str
    verbs: dict[str, str]
    aliases: dict[str, str] = {}
    flags: tuple[Flag, ...] = ()
    summary: str = ""

    def place(self, name: str) -> tuple[str, str]:
        """Return which module below this package has a verb, and its name there; ("", "") if there is none."""
        name = self.aliases.get(name, name)
        module, _, there = (self.verbs.get(name) or _HIDDEN.get(name, "")).partition(":")
        return (module, there or name) if module else ("", "")

    def find(self, name: str) -> Group | Verb | None:
        """Return what a word means here, None if there is no such verb."""
        module, there = self.place(name)
        if not module:
            return GROUPS.get(name) if name in self.verbs else None
        # Not importlib, which takes longer to import than most verbs.
        found: Verb = __import__(f"minirun.cli.verbs.{module}", fromlist=("VERBS",)).VERBS[there]
        return found


# What `minirun --help` lists, by section.
SECTIONS = {
    "Containers": {
        "run": "container.run",
        "create": "container.run",
        "start": "container.start",
        "stop": "container.stop",
        "restart": "container.start",
        "kill": "container.stop",
        "pause": "container.pause",
        "unpause": "container.pause",
        "rm": "container.rm",
        "ps": "container.ps",
        "exec": "container.exec",
        "attach": "container.start",
        "logs": "container.logs",
        "inspect": "container.inspect",
        "port": "container.port",
        "wait": "container.stop",
        "top": "container.top",
        "stats": "container.stats",
        "rename": "container.rename",
        "commit": "files.commit",
        "cp": "files.cp",
        "diff": "files.diff",
        "export": "files.export",
        "container": "",
    },
    "Images": {
        "build": "build.build",
        "builder": "",
        "pull": "image.pull",
        "push": "image.push",
        "load": "image.load",
        "save": "image.save",
        "import": "image.load",
        "images": "image.images",
        "image": "",
        "history": "image.images",
        "tag": "image.rmi",
        "rmi": "image.rmi",
        "manifest": "",
        "registry": "",
        "login": "image.login",
        "logout": "image.login",
    },
    "Volumes": {
        "volume": "",
    },
    "Networks": {"network": ""},
    "minirun": {
        "explain": "system.explain",
        "info": "system.info",
        "version": "system.info",
        "system": "",
        "completion": "system.completion",
    },
}
_HIDDEN = {"__complete": "system.completion", "help": "system.help"}
GROUPS = {
    "container": Group(
        "Manage containers: the commands that are also there without this word.",
        {
            name: SECTIONS["Containers"].get(name, "")
            for name in (
                "attach commit cp create diff exec export inspect kill logs ls pause port rename restart rm run start"
                " stats stop top unpause wait"
            ).split()
        }
        | {
            "inspect": "container.inspect:container inspect",
            "ls": "container.ps:ps",
            "prune": "system.prune:container prune",
        },
        {"list": "ls", "ps": "ls", "remove": "rm"},
        summary="Manage containers",
    ),
    "builder": Group(
        "Manage what builds remember.",
        {"build": "build.build", "prune": "build.builder:builder prune"},
        summary="Manage what builds remember",
    ),
    "image": Group(
        "Manage images.",
        {
            "build": "build.build",
            "history": "image.images",
            "import": "image.load",
            "inspect": "container.inspect:image inspect",
            "load": "image.load",
            "ls": "image.images:images",
            "prune": "system.prune:image prune",
            "pull": "image.pull",
            "push": "image.push",
            "rm": "image.rmi:rmi",
            "save": "image.save",
            "tag": "image.rmi",
        },
        {"list": "ls", "remove": "rm"},
        summary="Manage images",
    ),
    "network": Group(
        "Manage networks: on one of the user's own, containers have a bridge and addresses that no other has.",
        {
            "create": "network.manage",
            "inspect": "network.show",
            "ls": "network.show",
            "prune": "network.manage",
            "rm": "network.manage",
        },
        {"list": "ls", "remove": "rm"},
        summary="Manage networks",
    ),
    "manifest": Group(
        "Look at images where registries keep them.",
        {"inspect": "image.manifest:manifest inspect"},
        summary="Look at images in registries",
    ),
    "registry": Group(
        "Be a registry for others.",
        {"serve": "image.serve:registry serve"},
        summary="Serve the images of this machine",
    ),
    "volume": Group(
        "Manage volumes: files that outlive containers.",
        {
            "create": "volume.create",
            "inspect": "volume.inspect",
            "ls": "volume.ls",
            "prune": "system.prune:volume prune",
            "rm": "volume.rm",
        },
        {"list": "ls", "remove": "rm"},
        summary="Manage volumes",
    ),
    "system": Group(
        "What minirun keeps, and the machine that it runs on.",
        {"df": "system.df:system df", "info": "system.info", "prune": "system.prune:system prune"},
        summary="Disk usage, and removing what is not used",
    ),
}
MINIRUN = Group(
    "A container runtime that teaches: run a container, and see every kernel operation that made it.",
    {name: place for section in SECTIONS.values() for name, place in section.items()},
    flags=(
        text("--root", f"Images and containers.  [default: {DEFAULT_ROOT}]"),
        text("--state", f"What runs now.  [default: {DEFAULT_STATE}]"),
        switch("-v/--version", "Show the version and exit."),
    ),
)
