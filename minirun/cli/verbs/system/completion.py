"""`completion`: scripts for the shells, and what they call."""

from __future__ import annotations

from minirun.cli.grammar import FlagError, Verb

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minirun.cli.call import Call


def completion(call: Call) -> None:
    """Print a script that has SHELL complete minirun's commands, flags and names."""
    shell = call.arguments[0]
    if shell not in _SCRIPTS:
        choices = ", ".join(f"'{name}'" for name in _SCRIPTS)
        raise FlagError(f"invalid value for SHELL: '{shell}' is not one of {choices}", f"See '{call.path} --help'.")
    print(_SCRIPTS[shell])


def complete(call: Call) -> None:
    """Print what the last of WORDS may become, one per line: what the completion scripts call."""
    from minirun.cli.help.completion import candidates

    for candidate in candidates(call.layout(), call.arguments):
        print(candidate)


_SCRIPTS = {
    "bash": """\
_minirun() {
    # Bash has taken words apart at ":" and "=", and replaces only what comes after the last of them.
    local line=${COMP_LINE:0:COMP_POINT} breaks= words current
    read -ra words <<< "$line"
    [[ $line == *[[:space:]] ]] && words+=("")
    current=${words[-1]}
    mapfile -t COMPREPLY < <(minirun __complete -- "${words[@]:1}" 2> /dev/null)
    [[ $COMP_WORDBREAKS == *:* ]] && breaks+=:
    [[ $COMP_WORDBREAKS == *=* ]] && breaks+==
    [[ $breaks ]] && COMPREPLY=("${COMPREPLY[@]#"${current%"${current##*[$breaks]}"}"}")
    [[ ${#COMPREPLY[@]} == 1 && $COMPREPLY == *[:=] ]] && compopt -o nospace
}
complete -o default -F _minirun minirun""",
    "zsh": """\
#compdef minirun
_minirun() {
    local -a found
    found=(${(f)"$(minirun __complete -- "${(@)words[2,CURRENT]}" 2> /dev/null)"})
    (( $#found )) || { _files; return; }
    compadd -S '' -- ${(M)found:#*[:=]}
    compadd -- ${found:#*[:=]}
}
if [[ $funcstack[1] == _minirun ]]; then _minirun "$@"; else compdef _minirun minirun; fi""",
    "fish": """\
function __minirun_complete
    set -l found (minirun __complete -- (commandline -opc)[2..-1] (commandline -ct) 2> /dev/null)
    test (count $found) -gt 0; and printf '%s\\n' $found; or __fish_complete_path (commandline -ct)
end
complete -c minirun -f -a '(__minirun_complete)'""",
}
VERBS = {
    "completion": Verb(
        completion,
        (),
        "{bash|zsh|fish}",
        examples=(("source <(minirun completion bash)", "completion in this shell"),),
    ),
    "__complete": Verb(complete, (), "[WORDS...]"),
}
