#!/bin/bash
# Whether the C, C++ and CUDA files are as .clang-format has them.
#   tools/dev/check-format.sh [--fix]      --fix: makes them so
set -euo pipefail
cd "$(dirname "$0")/../.."
tools/install-packages.sh format
if ! clang-format --version | grep -q 'version 14\.'; then
    echo "format not checked: $(clang-format --version), expected version 14"
    exit 0
fi
mode=(--dry-run --Werror)
[ "${1:-}" != --fix ] || mode=(-i)
find src tests tools -name '*.[ch]' -o -name '*.cu' | xargs clang-format "${mode[@]}"
