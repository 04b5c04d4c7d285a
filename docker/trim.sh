#!/bin/sh
# Leaves out of a virtual environment what the running service never reads, and gives what it does read its byte
# code. usage: trim.sh PYTHON-OF-THE-ENVIRONMENT
set -eu
python=$1
epoch=${SOURCE_DATE_EPOCH:-1767225600}
site=$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
environment=$("$python" -c 'import sys; print(sys.prefix)')
cd "$site"

# An image in front of another engine has no torch.
if [ -d torch ]; then
    # To build against torch, and to test it.
    rm -rf torch/test torch/include torch/share
    # torch wants to find this one when it is imported.
    find torch/bin -type f ! -name torch_shm_manager -delete
    # Names for debuggers: a fifth of it.
    strip --strip-unneeded torch/lib/*.so
fi
# Asked for by torch to compile extensions.
rm -rf setuptools setuptools-*.dist-info pkg_resources _distutils_hack distutils-precedence.pth
find . -depth -type d -name tests -exec rm -rf {} +
find . -type f \( -name '*.h' -o -name '*.hpp' -o -name '*.cuh' -o -name '*.pyi' -o -name '*.pxd' -o -name '*.pyx' \
    -o -name '*.a' -o -name '*.po' \) -delete
# The admin is in English.
find django rest_framework axes -path '*/locale/*' -name '*.mo' ! -path '*/en/*' -delete
find . -depth -type d -name __pycache__ -exec rm -rf {} +

# The byte code that an import writes has the time of its source in it.
set_times() { find "$environment" -exec touch --no-dereference --date "@$epoch" {} +; }
set_times

# Byte code of the large packages takes as much space as they do, and of most of their modules none is ever
# imported: there, only what a start imports gets its own.
"$python" -m compileall -q --invalidation-mode unchecked-hash -x '/(torch|transformers|sympy|mpmath|networkx|numpy)/' .
[ ! -d torch ] || "$python" "$(dirname "$0")/warm.py"
set_times
