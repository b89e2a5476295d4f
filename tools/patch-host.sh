#!/bin/bash
# Makes the patched copy of Darknet's source that is built.
#   tools/patch-host.sh SRC DEST SERIES
# SRC: the unpacked upstream source or a checkout of Darknet; never modified. DEST: replaced when SRC
# or a patch has changed since it was made; files that come out the same keep their times, so that
# make compiles only what differs. SERIES: darknet-patches, or one folder of *.patch, as darknet-patches/hook;
# within a folder they are applied in the order of their names.
set -euo pipefail

# The folders of darknet-patches in the order in which they are applied.
folders=(hook mend data speed layers many gpu)

fail() {
    echo "patch-host: $1" >&2
    exit 1
}

[ $# = 3 ] || fail "usage: patch-host.sh SRC DEST SERIES"
src=$1
dest=$2
series=$3
for file in include/darknet.h src/parser.c examples/darknet.c; do
    [ -f "$src/$file" ] || fail "$src is not Darknet's source: it has no $file"
done
[ -d "$series" ] || fail "$series: no such folder of patches"

# list_patches: into `patches`, in order.
list_patches() {
    local folder
    patches=("$series"/*.patch)
    [ ${#patches[@]} = 0 ] || return 0
    for folder in "$series"/*/; do
        folder=$(basename "$folder")
        [[ " ${folders[*]} " = *" $folder "* ]] || fail "$series/$folder: expected only ${folders[*]}"
    done
    for folder in "${folders[@]}"; do patches+=("$series/$folder"/*.patch); done
    [ ${#patches[@]} -gt 0 ] || fail "$series: no *.patch there, nor in ${folders[*]}"
}

# What a build and the examples need, as NUL-ended names: not the user's weights, pictures or objects.
list_sources() {
    cd "$src"
    find src include examples cfg python scripts -type f ! -name '*.o' ! -name '*.a' ! -name '*.so' \
        ! -name '*.weights' ! -name '*.orig' ! -name '*.rej' -print0 2>/dev/null || true
    find . -maxdepth 1 -type f \( -name Makefile -o -name 'LICENSE*' -o -name README.md \) -print0
    find data -maxdepth 2 -type f -size -3000k \( -path 'data/labels/*' -o -path 'data/*.*' \) \
        ! -path 'data/*/*' -print0 2>/dev/null || true
    find data/labels -maxdepth 1 -type f -name '*.png' -print0 2>/dev/null || true
}

shopt -s nullglob
list_patches
digest=$({
    (list_sources | LC_ALL=C sort -zu | { cd "$src" && xargs -0 sha256sum; })
    sha256sum "${patches[@]}"
    sha256sum "$0"
} | sha256sum | cut -c1-64)
[ "$(cat "$dest/.patched" 2>/dev/null)" != "$digest" ] || exit 0

new=$dest.new
rm -rf "$new"
mkdir -p "$new"
(list_sources | LC_ALL=C sort -zu) | tar -C "$src" --null -T - -cf - | tar -C "$new" --no-same-owner -xf -
chmod -R u+w "$new"

for patch in "${patches[@]}"; do
    if ! log=$(patch -d "$new" -p1 --forward --batch --no-backup-if-mismatch 2>&1 <"$patch"); then
        file=$(printf '%s\n' "$log" | awk '
            /^(checking|patching) file / { file = $3 }
            /^can.t find file to patch/ { missing = 1 }
            missing && /^\|\+\+\+ / { sub("^b/", "", $2); print $2 " (no such file)"; exit }
            /FAILED|previously applied/ { print file; exit }')
        rm -rf "$new"
        fail "$patch does not apply to ${file:-$src}: $src is not upstream's last version (or already patched)"
    fi
done

if [ -d "$dest" ]; then
    (cd "$new" && find . -type f -print0) | while IFS= read -r -d '' file; do
        if cmp -s "$new/$file" "$dest/$file"; then touch -r "$dest/$file" "$new/$file"; else touch "$new/$file"; fi
    done
else
    find "$new" -type f -exec touch {} +
fi
echo "$digest" >"$new/.patched"
rm -rf "$dest"
mv "$new" "$dest"
echo "patched the host: ${#patches[@]} patches in $dest"
