#!/bin/sh
# Install minirun from this checkout, or bring an installation up to date. If nothing has changed, this does nothing and
# is quick.
#
# Usage: provision.sh [--test] [--packages]
#   --test      also what the tests need: QEMU, image tools, linters
#   --packages  only print the names of the Debian packages
#
# MINIRUN_PREFIX (/opt/minirun) gets a virtual environment of Debian's own Python; MINIRUN_BIN (/usr/local/bin) gets the
# executables. apt and pip are used as this machine has them configured.
set -eu
umask 022
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH
unset CDPATH PYTHONPATH PYTHONHOME PYTHONDONTWRITEBYTECODE VIRTUAL_ENV

checkout=$(cd "$(dirname "$0")/.." && pwd -P)
prefix=${MINIRUN_PREFIX:-/opt/minirun}
bin=${MINIRUN_BIN:-/usr/local/bin}
python=/usr/bin/python3

runtime_packages="ca-certificates iproute2 iptables kmod libseccomp2 python3"
build_packages="gcc libc6-dev libcap-dev libseccomp-dev musl-tools python3-dev python3-venv"
image_packages="busybox-static mmdebstrap"
test_packages="attr bash-completion buildah crun curl docker-registry e2fsprogs fish libcap2-bin openssl podman procps qemu-system-x86 shellcheck skopeo strace uidmap util-linux zsh zstd"

fail() {
    echo "provision.sh: $1" >&2
    exit 1
}

main() {
    # Docker's own packages conflict with Debian's, and serve the tests as well.
    for engine in dockerd:docker.io containerd:containerd runc:runc; do
        command -v "${engine%:*}" > /dev/null || test_packages="$test_packages ${engine#*:}"
    done
    packages="$runtime_packages $build_packages $image_packages"
    extra=""
    print=""
    for argument in "$@"; do
        case $argument in
            --test) packages="$packages $test_packages" extra="[test]" ;;
            --packages) print=yes ;;
            *) fail "unknown argument '$argument'; usage: provision.sh [--test] [--packages]" ;;
        esac
    done
    if [ -n "$print" ]; then
        echo "$packages" | tr ' ' '\n'
        exit 0
    fi

    [ "$(id -u)" = 0 ] || fail "installing needs root; run: sudo $0 $*"
    command -v dpkg-query > /dev/null || fail "this machine is not a Debian; the README lists what minirun needs"

    # Ctrl-C ends it at once; its temporary directories are removed.
    trap 'exit 130' INT
    trap 'exit 129' HUP
    trap 'exit 143' TERM
    # Two provisionings at once would write into the same environment.
    mkdir -p "$prefix"
    exec 9< "$prefix"
    flock 9

    install_packages
    # What the tests need stays: an installation made with --test is always brought up to date as if with --test.
    [ -n "$extra" ] || extra=$(sed -n 's/^extra: //p' "$prefix/provisioned" 2> /dev/null || true)
    state=$(state_of_sources)
    if [ "$(cat "$prefix/provisioned" 2> /dev/null)" != "$state" ]; then
        install_minirun
        write_executables
        echo "$state" > "$prefix/provisioned"
    fi
    for name in minirun minirun-oci; do
        grep -qs "$prefix/lib/minirun/scripts/$name" "$bin/$name" || write_executables
    done
}

install_packages() {
    missing=$(missing_packages)
    [ -n "$missing" ] || return 0
    echo "Installing Debian packages: $missing"
    # The package lists may be absent or old; they are fetched only then.
    # shellcheck disable=SC2086 # a list of words
    apt_install $missing > /dev/null 2>&1 || { apt-get -q update && apt_install $missing; } >&2 ||
        fail "apt could not install: $missing"
}

missing_packages() {
    # shellcheck disable=SC2086 # a list of words
    installed=$(dpkg-query --show --showformat '${db:Status-Status}:${Package}\n' $packages 2> /dev/null || true)
    list=""
    for package in $packages; do
        case "
$installed
" in
            *"
installed:$package
"*) ;;
            *) list="$list${list:+ }$package" ;;
        esac
    done
    echo "$list"
}

apt_install() {
    # The tests start the daemons that they need; none must run as a service, so policy-rc.d forbids starting any.
    policy=/usr/sbin/policy-rc.d
    if [ ! -e $policy ]; then
        trap 'rm -f $policy' EXIT
        printf '#!/bin/sh\nexit 101\n' > $policy
        chmod 755 $policy
        apt_get_install "$@" || { rm -f $policy; return 1; }
        rm -f $policy
    else
        apt_get_install "$@"
    fi
}

apt_get_install() {
    DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-remove -o DPkg::Lock::Timeout=300 install \
        --no-install-recommends "$@" < /dev/null
}

# What the installation was made from: every source file, the interpreter and the chosen extra.
state_of_sources() {
    echo "extra: $extra"
    "$python" --version
    (cd "$checkout" && source_files | sort | xargs sha256sum | sha256sum)
}

source_files() {
    find pyproject.toml setup.py scripts/provision.sh README.md LICENSE minirun \
        \( -name __pycache__ -o -path minirun/native/bin \) -prune -o \
        -type f ! -name '*.so' ! -name '*.o' ! -name _native.c ! -name _seccomp.c -print
}

install_minirun() {
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || fail "minirun needs Python 3.11 or newer"
    echo "Installing minirun into $prefix"
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    # `python -m venv` keeps what is there and brings pip back; an environment that is incomplete or of an older Python
    # has to go.
    clear=--clear
    [ ! -e "$prefix/provisioned" ] || ! "$prefix/bin/python" -I -c 'import minirun' 2> /dev/null || clear=""
    # shellcheck disable=SC2086 # one word or none
    [ -z "$clear" ] && "$prefix/bin/python" -c 'import pip' 2> /dev/null || quietly "$python" -m venv $clear "$prefix" ||
        fail "no virtual environment could be made in $prefix"
    pip_install "setuptools>=68" wheel "cffi>=1.16"

    # pip builds where it is told to; a copy keeps the checkout clean and leaves out what was built in place.
    mkdir "$work/source"
    (cd "$checkout" && source_files | tar --create --files-from -) |
        tar --extract --no-same-owner --directory "$work/source"
    rm -f "$prefix/provisioned"
    pip_install --no-build-isolation "$work/source$extra"
    strip_installation
}

# Two thirds of what pip installs is of no use later: debugging symbols, zstandard's second backend, and pip itself.
strip_installation() {
    site=$(echo "$prefix"/lib/python3*/site-packages)
    rm -f "$site"/zstandard/_cffi.*.so "$site"/zstandard/backend_cffi.py
    find "$site" -name '*.so' | while read -r library; do
        # By renaming: somebody may be executing the old one.
        strip --strip-unneeded -o "$library.stripped" "$library" && mv "$library.stripped" "$library"
    done
    [ -n "$extra" ] || "$prefix/bin/python" -m pip uninstall -qq --yes --root-user-action=ignore \
        pycparser packaging wheel setuptools pip
}

write_executables() {
    "$prefix/bin/python" -I -m minirun.launcher.executables "$bin" "$prefix/lib/minirun"
    write_completion bash bash-completion/completions/minirun
    write_completion zsh zsh/site-functions/_minirun
    write_completion fish fish/vendor_completions.d/minirun.fish
}

# This is where shells look for completions of the commands in $bin.
write_completion() {
    file="$(dirname "$bin")/share/$2"
    mkdir -p "$(dirname "$file")"
    "$bin/minirun" completion "$1" > "$file"
}

pip_install() {
    quietly "$prefix/bin/python" -m pip install -qq --no-input --disable-pip-version-check --root-user-action=ignore "$@" ||
        fail "pip could not install: $*"
}

# Run a command and show what it says only if it fails, and not if Ctrl-C has ended it.
quietly() {
    "$@" > "$work/said" 2>&1 < /dev/null || {
        cat "$work/said" >&2
        return 1
    }
}

main "$@"
