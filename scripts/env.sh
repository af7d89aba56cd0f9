# Makes .venv from requirements.lock; the other scripts source it. It does nothing if the lock file did
# not change. LRBENCH_PYTHON names the interpreter (3.11 or newer) if the python3 on the PATH is older.

cd "$(dirname "${BASH_SOURCE[0]}")/.."

find_python() {
  local candidate
  for candidate in "${LRBENCH_PYTHON:-}" python3 python3.14 python3.13 python3.12 python3.11 python; do
    if [ -n "$candidate" ] && "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      echo "$candidate"
      return
    fi
  done
  echo "error: no Python 3.11 or newer is on the PATH; set LRBENCH_PYTHON=/path/to/python" >&2
  return 1
}

# The lines of the lock file for the tools that install the rest.
locked_tools() {
  awk '/^[a-zA-Z]/ {wanted = /^(setuptools|uv|wheel)==/} wanted' requirements.lock
}

make_environment() {
  local stamp lock_sum python tools
  stamp=.venv/made-from
  lock_sum=$(cat requirements.lock pyproject.toml | cksum)
  if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$lock_sum" ]; then
    return
  fi
  rm -f "$stamp"
  if .venv/bin/python -m pip --version >/dev/null 2>&1; then  # in place, because a program may be running from it
    echo "updating the environment .venv to requirements.lock" >&2
  else
    python=$(find_python)
    echo "making the environment .venv from requirements.lock (6 GB with torch and CUDA; once)" >&2
    if ! "$python" -m venv --clear .venv; then
      echo "error: $python has no module venv; on Debian and Ubuntu: apt install python3-venv" >&2
      return 1
    fi
  fi
  tools=$(mktemp)
  locked_tools >"$tools"
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r "$tools"
  rm -f "$tools"
  .venv/bin/uv pip sync --quiet --python .venv/bin/python --require-hashes --no-build-isolation --compile-bytecode requirements.lock
  .venv/bin/uv pip install --quiet --python .venv/bin/python --no-deps --no-build-isolation --editable .
  .venv/bin/python -m compileall -q lrbench conf sweeps
  echo "$lock_sum" >"$stamp"
}

set -euo pipefail
make_environment
