#!/usr/bin/env bash
# Does Binder build this repository, and does a visitor's first notebook fit? Without Docker:
# repo2docker parses binder/ and renders its Dockerfile, then the same steps run here, in the same
# order, as another user where that is possible, on the files that Git tracks or would track.
#
#     scripts/binder_check.sh [NOTEBOOK]
#
# Prints peak memory, size of the environment and seconds; fails if a step fails, if packages do
# not agree, or if JupyterLab and the notebook together take 1,500 MB or more (Binder gives 2 GB).
set -euo pipefail
cd "$(dirname "$0")/.."
limit_mb=1500
started=$SECONDS

work=$(mktemp -d)
server=
finish() {
  if [ -n "$server" ]; then kill "$server" 2>/dev/null || true; wait "$server" 2>/dev/null || true; fi
  rm -rf "$work"
}
trap finish EXIT
fail() { echo "Binder check: $*" >&2; exit 1; }
# run a step with its output in a file; show that only if the step fails
quiet() {
  local log=$work/$1.log; shift
  "$@" > "$log" 2>&1 || { tail -n 60 "$log" >&2; fail "failed: $*"; }
}

python=
for candidate in /usr/bin/python3.11 "$(command -v python3.11 || true)" "$(command -v python3 || true)"; do
  if [ -x "$candidate" ] && "$candidate" -c 'import sys, ensurepip; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null; then
    python=$candidate
    break
  fi
done
[ -n "$python" ] || fail "needs Python 3.11 with venv, as binder/runtime.txt says"

echo "-- repo2docker reads binder/"
home=$work/home
mkdir "$home"
git ls-files -z --cached --others --exclude-standard \
  | while IFS= read -r -d '' file; do if [ -e "$file" ]; then printf '%s\0' "$file"; fi; done \
  | tar --null --files-from=- -c | tar -x -C "$home"
[ -d "$home/binder" ] || fail "there is no binder/"
"$python" -m venv "$work/repo2docker"
quiet install-repo2docker "$work/repo2docker/bin/pip" install -q -c constraints.txt jupyter-repo2docker
quiet dockerfile env -C "$home" "$work/repo2docker/bin/jupyter-repo2docker" --no-build --debug .
rendered() { grep -qF -- "$1" "$work/dockerfile.log" || fail "the Dockerfile lacks: $1"; }
rendered 'pip install --no-cache-dir -r "binder/requirements.txt"'
rendered 'Building conda environment for python=3.11'
rendered './binder/postBuild'
rendered '/binder/start'
for file in postBuild start; do
  [ -x "$home/binder/$file" ] || fail "binder/$file must be executable"
done
# what repo2docker puts into every image, at its versions
cat "$work"/repo2docker/lib/python3*/site-packages/repo2docker/buildpacks/conda/environment.py-3.11-linux-64.lock \
  | grep -oE '/(jupyterlab|notebook|jupyter_server|ipywidgets|jupyter-resource-usage|jupyter-offlinenotebook)-[0-9][^-]*-' \
  | sed -E 's#^/(.+)-([0-9][^-]*)-$#\1==\2#' > "$home/.base.txt"
[ -s "$home/.base.txt" ] || fail "repo2docker's list of base packages was not found"

notebook=${1:-notebooks/01_quickstart.ipynb}
if [ ! -e "$home/$notebook" ]; then
  first=$(cd "$home" && ls notebooks/*.ipynb 2>/dev/null | head -n 1)
  [ -n "$first" ] || fail "there is no notebook"
  echo "   $notebook is not there, $first is run instead"
  notebook=$first
fi

as_visitor=()
if [ "$(id -u)" -eq 0 ]; then
  if runuser -u nobody -- "$python" -c pass 2>/dev/null; then
    as_visitor=(runuser -u nobody --)
    chmod 755 "$work"
    chown -R nobody "$home"
    install -d -o nobody "$work/env" "$work/tmp"
  else
    echo "   runuser is missing, or nobody cannot run $python: the steps run as root"
  fi
fi
[ -d "$work/env" ] || mkdir "$work/env" "$work/tmp"
visitor() {
  (cd "$home" && exec ${as_visitor[@]+"${as_visitor[@]}"} env -i \
    HOME="$home" REPO_DIR="$home" TMPDIR="$work/tmp" LANG=C.UTF-8 PATH="$work/env/bin:/usr/bin:/bin" \
    NB_PYTHON_PREFIX="$work/env" PIP_DISABLE_PIP_VERSION_CHECK=1 \
    ${PIP_CERT:+PIP_CERT="$PIP_CERT"} ${PIP_FIND_LINKS:+PIP_FIND_LINKS="$PIP_FIND_LINKS"} \
    ${PIP_INDEX_URL:+PIP_INDEX_URL="$PIP_INDEX_URL"} "$@")
}

echo "-- the environment"
quiet venv visitor "$python" -m venv "$work/env"
quiet base visitor pip install -q --no-cache-dir -r .base.txt
quiet requirements visitor pip install -q --no-cache-dir -r binder/requirements.txt
quiet pip-check visitor pip check
built=$(visitor python -c 'import torch; print(torch.version.cuda)') || fail "torch is not in the environment"
[ "$built" = None ] || fail "torch is the build for CUDA $built, which takes 4 GB more"
env_mb=$(du -sm "$work/env" | cut -f1)

echo "-- postBuild"
quiet postBuild visitor ./binder/postBuild

echo "-- JupyterLab and $notebook"
port=$("$python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
root=()
if [ "$(id -u)" -eq 0 ] && [ ${#as_visitor[@]} -eq 0 ]; then root=(--allow-root); fi
visitor ./binder/start jupyter lab --no-browser --ip=127.0.0.1 --port="$port" \
  --ServerApp.port_retries=0 --IdentityProvider.token=check ${root[@]+"${root[@]}"} > "$work/lab.log" 2>&1 &
server=$!
get() {
  env -u http_proxy -u HTTP_PROXY "$python" -c '
import sys, urllib.request
headers = {"Authorization": "token check"}
urllib.request.urlopen(urllib.request.Request(sys.argv[1], headers=headers), timeout=20)
' "http://127.0.0.1:$port/$1" 2>/dev/null
}
for _ in $(seq 150); do
  if get api/status; then break; fi
  kill -0 "$server" 2>/dev/null || { cat "$work/lab.log" >&2; fail "JupyterLab ended"; }
  sleep 0.2
done
get "lab/tree/$notebook" || { cat "$work/lab.log" >&2; fail "JupyterLab does not show $notebook"; }

# The sum of the memory (PSS) of JupyterLab, the kernel and all between, looked at 20 times a second.
"$python" - "$work/peak" "$work/stop" "$$" <<'PYTHON' &
import os, re, sys, time
from pathlib import Path

peak_file, stop, root = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])


def tree(root):
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:
            pass
    found, level = set(), {root}
    while level:
        found |= level
        level = {child for child, parent in parents.items() if parent in level}
    return found


def proportional(process):
    try:
        return int(re.search(r"^Pss:\s+(\d+)", Path(f"/proc/{process}/smaps_rollup").read_text(), re.M)[1])
    except (OSError, TypeError):
        return 0


peak = 0
while not stop.exists():
    peak = max(peak, sum(map(proportional, tree(root) - {os.getpid()})))
    time.sleep(0.05)
peak_file.write_text(str(peak // 1000))
PYTHON
watcher=$!
notebook_started=$SECONDS
quiet notebook visitor ./binder/start jupyter nbconvert --to notebook --execute --stdout "$notebook"
notebook_seconds=$((SECONDS - notebook_started))
touch "$work/stop"
wait "$watcher"
peak_mb=$(cat "$work/peak")

echo "peak MB: $peak_mb"
echo "env MB: $env_mb"
echo "seconds: $((SECONDS - started)) ($notebook_seconds for the notebook)"
[ "$peak_mb" -gt 50 ] || fail "memory was not measured"
[ "$peak_mb" -lt "$limit_mb" ] || fail "JupyterLab and $notebook take $peak_mb MB, $limit_mb may be"
echo "Binder check passed"
