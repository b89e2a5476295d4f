#!/bin/bash
# Which folder of src/ may use which: arrows run one way, and no two files need each other. Read from the includes, and,
# where the compiled files are, from the names that they define and use.
set -uo pipefail
root=$PWD
build=${BUILD:-build}
failures=0

# A folder may include itself and the ones in its row.
allowed='
base
files         base
optimizer     base files
hrnn          base files optimizer
adjoint       base files optimizer hrnn
darknet       base files optimizer hrnn
problems      base files optimizer
meta          base files optimizer hrnn adjoint problems
darknet_meta  base files optimizer hrnn darknet problems meta
compare       base files optimizer hrnn
'

# arrows FOLDER: one line for each include of src/ under it that runs back or leads to no file.
arrows() {
    (cd "$1" && grep -rn '^#include "' src --include='*.c' --include='*.h' --include='*.cu') |
        awk -F'[:"]' -v allowed="$allowed" '
            BEGIN {
                n = split(allowed, rows, "\n")
                for (i = 1; i <= n; ++i) {
                    m = split(rows[i], words, " ")
                    for (k = 1; k <= m; ++k) may[words[1], words[k]] = 1
                    if (m) known[words[1]] = 1
                }
            }
            {
                split($1, from, "/")
                slash = index($4, "/")
                to = substr($4, 1, slash - 1)
                if (!(from[2] in known)) print $1 ": the folder " from[2] " has no row in this test"
                else if (slash && !((from[2], to) in may)) print $1 ":" $2 ": " from[2] " must not include " $4
                else if (!slash && system("test -e src/*/" $4) == 0) print $1 ":" $2 ": " $4 " without its folder"
            }'
}

# circles OBJECTS...: the files that need each other, by the names that they define and use.
circles() {
    nm -A "$@" 2>/dev/null | awk '
        { object = $1; sub(/:.*/, "", object); kind = $(NF - 1); name = $NF }
        kind ~ /^[TDBRVWC]$/ { home[name] = object }
        kind == "U" { used[object, name] = 1 }
        END {
            for (pair in used) {
                split(pair, part, SUBSEP)
                if (part[2] in home && home[part[2]] != part[1]) print part[1], home[part[2]]
            }
        }' | LC_ALL=C sort -u | tsort 2>&1 >/dev/null
}

wrong() {
    echo "FAIL: $1"
    failures=$((failures + 1))
}

found=$(arrows "$root")
[ -z "$found" ] || wrong "$found"
mapfile -t objects < <(find "$build/obj" -name '*.o' -path '*/obj/*/*' ! -path '*/tests/*' ! -path '*/tools/*' \
    ! -path '*/emulated/*' ! -path '*/scalar/*' 2>/dev/null)
if [ ${#objects[@]} -gt 0 ]; then
    found=$(circles "${objects[@]}")
    [ -z "$found" ] || wrong "$found"
fi

# One that runs back, and two files that need each other, are found.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/src/base" "$work/src/meta"
echo '#include "meta/episode.h"' >"$work/src/base/clock.c"
[ "$(arrows "$work")" = 'src/base/clock.c:1: base must not include meta/episode.h' ] || wrong 'an arrow that runs back is not found'
echo 'int a(void); int b(void); int a(void) { return b(); }' >"$work/a.c"
echo 'int a(void); int b(void); int b(void) { return a(); }' >"$work/b.c"
if (cd "$work" && cc -c a.c b.c) 2>/dev/null; then
    [ -n "$(circles "$work/a.o" "$work/b.o")" ] || wrong 'two files that need each other are not found'
fi
[ "$failures" = 0 ]
