#!/bin/bash
# Starts `lumi` in a plain container with Python: installs the wheel that lies beside this file, then runs
# `lumi` with the arguments given. LUMI_EXTRA names an extra to install with it, as in [gpu].
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
wheels=("$here"/luminoth-*.whl)
if [ "${#wheels[@]}" -ne 1 ] || [ ! -f "${wheels[0]}" ]; then
    echo "bootstrap.sh: there must be one wheel luminoth-*.whl in $here; found: ${wheels[*]}" >&2
    exit 1
fi

# From the file and never by name: the package index has Luminoth's predecessor under that name.
python -m pip install --no-cache-dir --disable-pip-version-check --root-user-action=ignore \
    "${wheels[0]}${LUMI_EXTRA:-}"

# CUDA's libraries come as packages of Python, the driver's are mounted by the service.
libraries="$(python - <<'PYTHON'
import glob
import sysconfig

print(":".join(sorted(glob.glob(sysconfig.get_path("purelib") + "/nvidia/*/lib"))))
PYTHON
)"
export LD_LIBRARY_PATH="${libraries:+$libraries:}/usr/local/nvidia/lib64${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"

# Signals must reach `lumi`, which saves a checkpoint when it is stopped.
exec lumi "$@"
