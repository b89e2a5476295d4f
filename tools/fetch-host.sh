#!/bin/bash
# Downloads, verifies and unpacks the source of Darknet from Debian's source package.
#   tools/fetch-host.sh DOWNLOADS DEST
# DOWNLOADS keeps the verified files; when they are there nothing is fetched. DEST is replaced by
# the unpacked upstream tarball (Debian's own patches are not applied).
# The archives are those that this machine's apt is configured with, asked for their source packages
# through a list, a state and a cache of our own: neither /etc nor /var changes, no root is needed.
set -euo pipefail

version=0.0.0+git20180914.61c9d02e
package=darknet=$version-2
tarball=darknet_$version.orig.tar.xz
dsc=darknet_$version-2.dsc
declare -A sha256=(
    [$tarball]=ec536ae11853846aab96183d8ec18730a46cce71f7d935768d235029329f9e93
    [$dsc]=4844e416dcdedc300e9c449b15a62a6b36cb48fff32cb165ce71d4841cf18323
)

fail() {
    echo "fetch-host: $1" >&2
    exit 1
}

verified() {  # DIRECTORY: holds both files with the pinned checksums
    local file
    for file in "$tarball" "$dsc"; do
        echo "${sha256[$file]}  $1/$file" | sha256sum --check --status 2>/dev/null || return 1
    done
}

# Writes one deb822 paragraph of type deb-src into DIR/NNN.sources for each archive and suite in apt's
# configuration: the one-line entries of *.list, then the paragraphs of *.sources.
list_archives() {  # DIR
    local dir=$1 etc file
    local -a one_line=() deb822=()
    eval "$(apt-config shell etc Dir::Etc/d)"
    for file in "${etc%/}/sources.list" "${etc%/}"/sources.list.d/*.list; do
        [ ! -r "$file" ] || one_line+=("$file")
    done
    for file in "${etc%/}"/sources.list.d/*.sources; do
        [ ! -r "$file" ] || deb822+=("$file")
    done
    # deb822 first: where both exist, it is the distribution's own file.
    [ ${#deb822[@]} = 0 ] || sed -s -e '/^#/d' -e '$a\\' "${deb822[@]}" | awk -v dir="$dir" '
        BEGIN { RS = ""; FS = "\n" }
        {
            split("", field); key = ""
            for (i = 1; i <= NF; i++) {
                if ($i ~ /^[^ \t:]+:/) {
                    key = tolower(substr($i, 1, index($i, ":") - 1))
                    field[key] = substr($i, index($i, ":") + 1)
                } else field[key] = field[key] "\n" $i
            }
            if (tolower(field["enabled"]) ~ /no|false|0/) next
            uris = split(field["uris"], uri, /[ \t\n]+/)
            suites = split(field["suites"], suite, /[ \t\n]+/)
            for (i = 1; i <= uris; i++) for (j = 1; j <= suites; j++) {
                if (uri[i] == "" || suite[j] == "" || uri[i] ~ /^cdrom/) continue
                out = sprintf("%s/1%03d.sources", dir, n++)
                print "Types: deb-src\nURIs: " uri[i] "\nSuites: " suite[j] > out
                if (suite[j] !~ /\/$/) print "Components:" field["components"] > out
                if ("signed-by" in field) print "Signed-By:" field["signed-by"] > out
                if ("trusted" in field) print "Trusted:" field["trusted"] > out
                close(out)
            }
        }'
    [ ${#one_line[@]} = 0 ] || sed -s 's/#.*//' "${one_line[@]}" | awk -v dir="$dir" '
        $1 == "deb" || $1 == "deb-src" {
            signed = trusted = ""; i = 2
            if ($2 ~ /^\[/) for (more = 1; more && i <= NF; i++) {
                more = $i !~ /\]$/
                word = $i; gsub(/[][]/, "", word)
                if (word ~ /^signed-by=/) { signed = substr(word, 11); gsub(",", " ", signed) }
                if (word ~ /^trusted=/) trusted = substr(word, 9)
            }
            if ($i == "" || $i ~ /^cdrom/) next
            out = sprintf("%s/2%03d.sources", dir, n++)
            print "Types: deb-src\nURIs: " $i "\nSuites: " $(i + 1) > out
            line = ""
            for (j = i + 2; j <= NF; j++) line = line " " $j
            if (line != "") print "Components:" line > out
            if (signed != "") print "Signed-By: " signed > out
            if (trusted != "") print "Trusted: " trusted > out
            close(out)
        }'
}

describe() {  # FILE.sources: "URI suite components"
    sed -n -E 's/^(URIs|Suites|Components): *//p' "$1" | tr '\n' ' ' | sed 's/ $//'
}

# apt with its configuration (proxies, certificates), but with nothing of its own changed.
private_apt() {  # SOURCES COMMAND...
    local sources=$1
    shift
    apt-get -c "$work/apt.conf" -o Dir::Etc::SourceList="$(realpath "$sources")" "$@" \
        </dev/null >>"$work/log" 2>&1
}

from_index() {  # FILE.sources: the source package as the archive's signed index has it
    rm -rf "$work/state/lists" "$work/new"
    mkdir -p "$work/state/lists/partial" "$work/new"
    private_apt "$1" -q update || return 1
    (cd "$work/new" && private_apt "$1" -q source --download-only --only-source "$package") || return 1
    verified "$work/new"
}

from_pool() {  # URI: the same files by their names, where no suite that is configured lists them
    local component file
    for component in main universe; do
        rm -rf "$work/new"
        mkdir -p "$work/new"
        for file in "$tarball" "$dsc"; do
            /usr/lib/apt/apt-helper -c "$work/apt.conf" download-file \
                "${1%/}/pool/$component/d/darknet/$file" "$work/new/$file" \
                "SHA256:${sha256[$file]}" </dev/null >>"$work/log" 2>&1 || break
        done
        verified "$work/new" && return 0
    done
    return 1
}

obtain() {  # leaves both files, verified, in $work/new
    local sources uri tried=""
    mkdir -p "$work/archives" "$work/cache/archives/partial" "$work/parts"
    cat >"$work/apt.conf" <<END
Dir::Etc::SourceParts "$work/parts";
Dir::State::lists "$work/state/lists";
Dir::Cache "$work/cache";
Acquire::Languages "none";
Acquire::Retries "2";
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
END
    list_archives "$work/archives"
    for sources in "$work"/archives/*.sources; do
        [ -e "$sources" ] || fail "apt on this machine has no archives configured"
        from_index "$sources" && return 0
        tried="$tried; $(describe "$sources")"
    done
    for uri in $(sed -n 's/^URIs: //p' "$work"/archives/*.sources | sort -u); do
        from_pool "$uri" && return 0
        tried="$tried; ${uri%/}/pool"
    done
    grep -E '^(E:|W: Failed)' "$work/log" | sort -u | tail -n 5 >&2 || true
    fail "no archive gave the source package $package; tried ${tried#; }; or put $tarball and $dsc into $downloads"
}

[ $# = 2 ] || fail "usage: fetch-host.sh DOWNLOADS DEST"
downloads=$1
dest=$2
mkdir -p "$downloads"

if ! verified "$downloads"; then
    command -v apt-get >/dev/null || fail "no apt-get here; put $tarball and $dsc into $downloads"
    echo "fetching the source package $package"
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    chmod 755 "$work"
    obtain
    for file in "$tarball" "$dsc"; do
        cp "$work/new/$file" "$downloads/$file.part"
        mv "$downloads/$file.part" "$downloads/$file"
    done
    verified "$downloads" || fail "$downloads: the files were damaged while copying (disk full?)"
fi

if [ "$(cat "$dest/.unpacked" 2>/dev/null)" != "${sha256[$tarball]}" ]; then
    rm -rf "$dest" "$dest.new"
    mkdir -p "$dest.new"
    tar -xJf "$downloads/$tarball" -C "$dest.new" --strip-components=1 --no-same-owner
    echo "${sha256[$tarball]}" >"$dest.new/.unpacked"
    mv "$dest.new" "$dest"
fi
