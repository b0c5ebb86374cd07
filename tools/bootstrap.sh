#!/bin/sh
# Makes or renews .venv in the current folder: `sh tools/bootstrap.sh runtime|dev`.
# DPBENCH_PYTHON names another interpreter, DPBENCH_TORCH_INDEX another place for torch.
set -eu

kind=${1:-runtime}
venv=.venv
log=$venv/install.log

say() { printf 'dpbench: %s\n' "$*"; }
die() { printf 'dpbench: %s\n' "$*" >&2; exit 1; }

find_python() {
    found=""
    for name in ${DPBENCH_PYTHON:-} python3 python3.14 python3.13 python3.12 python3.11; do
        version=$("$name" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || continue
        found="$found $name=$version"
        if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            python=$name
            return
        fi
    done
    die "needs Python 3.11 or newer; found:${found:- none}. Install one, or name it: DPBENCH_PYTHON=/path/to/python make demo"
}

make_venv() {
    if "$venv/bin/python" -c 'import sys, pip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        return
    fi
    find_python
    "$python" -c 'import venv, ensurepip' 2>/dev/null ||
        die "$python $version has no venv module. On Debian and Ubuntu: apt-get install python$version-venv"
    say "making $venv with $python ($version)"
    "$python" -m venv --clear "$venv"
}

# Runs pip with its output in the log; shows what is being fetched, and all if it fails.
pip_install() {
    status=$venv/install.status
    { "$venv/bin/python" -m pip install --disable-pip-version-check "$@" 2>&1 || : >"$status"; } |
        while IFS= read -r line; do
            printf '%s\n' "$line" >>"$log"
            case $line in
                Collecting*|Building*) printf '  %s\n' "${line%% (from*}" ;;
            esac
        done
    if [ -e "$status" ]; then
        rm -f "$status"
        return 1
    fi
}

has_cuda() { nvidia-smi -L >/dev/null 2>&1; }

# torch's default build for Linux brings gigabytes of CUDA libraries; a machine without
# a CUDA device gains nothing from them.
install_torch() {
    torch=$(sed -n 's/^\(torch==.*\)$/\1/p' constraints.txt)
    if "$venv/bin/python" -c "import importlib.metadata as m, sys; sys.exit(m.version('torch').split('+')[0] != '${torch#torch==}')" 2>/dev/null; then
        return
    fi
    if [ -n "${DPBENCH_TORCH_INDEX:-}" ]; then
        say "installing $torch from DPBENCH_TORCH_INDEX"
        pip_install --no-deps --index-url "$DPBENCH_TORCH_INDEX" "$torch" || fail_install
    elif [ "$(uname -s)" = Linux ] && ! has_cuda; then
        if pip_install --no-index --no-deps "$torch" >/dev/null; then
            say "no CUDA device found: installed the $torch wheel that was at hand"
        else
            say "no CUDA device found. The default build of torch brings about 3 GB of CUDA libraries; the CPU build needs 0.2 GB:"
            say "  DPBENCH_TORCH_INDEX=<index of CPU builds, see pytorch.org> make demo"
            say "going on with the default build"
        fi
    fi
}

fail_install() {
    tail -n 30 "$log" >&2
    die "the installation failed; all of pip's output is in $log"
}

case $kind in
    runtime) what=. ;;
    dev) what='.[dev]' ;;
    *) die "bootstrap.sh: unknown kind '$kind'; expected runtime or dev" ;;
esac
make_venv
: >"$log"
say "installing dpbench ($kind) into $venv; pip's output goes to $log"
install_torch
pip_install -c constraints.txt -e "$what" || fail_install
say "ready: $("$venv/bin/python" --version), $("$venv/bin/python" -m dpbench --version)"
