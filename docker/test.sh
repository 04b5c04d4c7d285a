#!/bin/sh
# Runs the end-to-end tests against the service in an image's file system, so that nothing that it lacks goes
# unseen. usage, as root: docker/test.sh FILE-SYSTEM [PYTEST-ARGUMENTS]
# FILE-SYSTEM is a folder that holds it, as `buildah mount` or `docker export` give one.
set -eu
root=$1
shift
here=$(cd "$(dirname "$0")/.." && pwd)
mkdir -p "$root$here/var"
for folder in /proc /dev /tmp "$here/var"; do
    mount --rbind "$folder" "$root$folder"
    mount --make-rslave "$root$folder"
done
trap 'for folder in "$here/var" /tmp /dev /proc; do umount -l "$root$folder"; done' EXIT
cd "$here"
TEST_IMAGE_ROOT=$root .venv/bin/python -m pytest tests/e2e/test_service.py tests/e2e/test_start.py \
    tests/e2e/test_postgresql.py "$@"
