# shellcheck shell=bash
# Sourced by scripts/test, scripts/demo, scripts/install_tools and .ci/run: the virtual environment of this
# checkout.
#
# Sets `root` (the checkout) and `python` (the interpreter in its `.venv`). Needs bash, coreutils and
# Python 3.11 or later, nothing else; no root. The only thing it reaches for is the package registry.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=$root/.venv
python=$venv/bin/python
# Programs that some tests call; scripts/install_tools puts them there.
gobin=$venv/gobin
export PATH=$gobin:$PATH

step() { printf '==> %s\n' "$*"; }

fail() {
    printf 'error: %s\n' "$1" >&2
    shift
    [ $# -eq 0 ] || printf '       %s\n' "$@" >&2
    exit 1
}

# What keeps $1 from making the virtual environment; nothing if it can.
unfit() {
    command -v "$1" >/dev/null 2>&1 || { echo "not found"; return; }
    local version
    version=$("$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) \
        || { echo "does not start"; return; }
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "is Python $version"; return; }
    "$1" -c 'import ensurepip, venv' 2>/dev/null || echo "has no venv and ensurepip modules"
}

# Print the first usable interpreter: $PYTHON where it is set, else the usual names.
find_python() {
    local candidate reason
    local reasons=()
    for candidate in ${PYTHON:+"$PYTHON"} python3 python3.14 python3.13 python3.12 python3.11 python; do
        reason=$(unfit "$candidate")
        [ -n "$reason" ] || { printf '%s\n' "$candidate"; return; }
        [ "$reason" = "not found" ] || reasons+=("$candidate $reason")
    done
    fail "no Python was found that can make a virtual environment: 3.11 or later is needed" \
        ${reasons[@]+"${reasons[@]}"} \
        "On Debian and Ubuntu the modules come with the package python3-venv." \
        "PYTHON=/path/to/python3 names another one."
}

# Make `.venv` unless there is one that works.
make_venv() {
    local found
    if [ -x "$python" ] && "$python" -c '' 2>/dev/null; then
        "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
            || fail "$venv has $("$python" -V), and hushar needs 3.11 or later: remove it and run this again"
        # Some tools make environments without pip; an interrupted run can leave one too.
        "$python" -c 'import pip' 2>/dev/null || "$python" -m ensurepip >/dev/null
        return
    fi
    found=$(find_python)
    step "making the virtual environment .venv with $("$found" -V)"
    "$found" -m venv --clear "$venv"
}

# What an installation depends on: where the checkout lies, the interpreter, every pyproject.toml, and what is
# compiled.
fingerprint() {
    {
        printf '%s\n' "$root"
        "$python" -VV
        find "$root/setup.py" "$root/hushar" -name setup.py -o -name '*.pyx' -o -name '*.pxd' \
            | LC_ALL=C sort | while IFS= read -r file; do cat "$file"; done
        find "$root/pyproject.toml" "$root/plugins" "$root/examples" -maxdepth 2 -name pyproject.toml \
            2>/dev/null | LC_ALL=C sort | while IFS= read -r file; do cat "$file"; done
    } | cksum
}

installed() { [ "$(cat "$venv/$1.installed" 2>/dev/null)" = "$(fingerprint)" ]; }

# install NAME PIP-ARGUMENTS…: once, and again when a pyproject.toml has changed.
install() {
    local name=$1
    shift
    installed "$name" && return
    step "installing hushar and what it needs ($name)"
    # Dependency groups came with pip 25.1; an older interpreter brings an older pip.
    pip_install --upgrade "pip>=25.1"
    pip_install "$@"
    fingerprint >"$venv/$name.installed"
}

# pip says much that is of interest only when it fails.
pip_install() {
    local said
    said=$(cd "$root" && "$python" -m pip install --quiet --disable-pip-version-check "$@" 2>&1) && return
    printf '%s\n' "$said" >&2
    fail "pip could not install: $*" "The package registry has to be reachable; the messages above are pip's."
}

# The server and its run-time dependencies.
install_runtime() {
    make_venv
    installed tests || install runtime --editable .
}

# The same, the first-party plugin, the example plugin, and what the tests need.
install_tests() {
    make_venv
    install tests --editable . --editable plugins/hushar-aws --editable plugins/hushar-transforms \
        --editable examples/hushar-example --group test --group lint
}

# The server, the plugin for AWS, and an AWS on this machine.
install_aws() {
    make_venv
    installed tests || install aws --editable ".[testing]" --editable plugins/hushar-aws
}
