# shellcheck shell=bash
# Makes Debian root directories from the mirror this machine itself uses. Sourced after common.sh and deps.sh.

# Documentation is never read in the box.
DEBIAN_DPKG_OPTIONS=(
    --dpkgopt='path-exclude=/usr/share/doc/*'
    --dpkgopt='path-exclude=/usr/share/man/*'
    --dpkgopt='path-exclude=/usr/share/locale/*'
    --dpkgopt='path-exclude=/usr/share/info/*'
)

# debian_mirror — the URI of the Debian archive in this machine's apt configuration.
debian_mirror() {
    local mirror
    # shellcheck disable=SC2016  # apt's own variable
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep '/debian/\?$' | head -n 1 || true)
    [[ -n $mirror ]] || die "apt's configuration names no Debian archive"
    printf '%s\n' "$mirror"
}

# debian_tree SUITE DIR PACKAGES [MMDEBSTRAP-ARG…] — a root directory with PACKAGES (comma-separated), made
# whole or not at all. apt's proxies and the machine's certificates are passed on.
debian_tree() {
    local suite=$1 dir=$2 packages=$3 mirror proxy options=()
    shift 3
    mirror=$(debian_mirror)
    for proxy in $(apt-config dump --format '%f=%v%n' Acquire::http::Proxy Acquire::https::Proxy | grep '=.' || true); do
        options+=(--aptopt="${proxy%%=*} \"${proxy#*=}\"")
    done
    rm -rf --one-file-system -- "$dir.new"
    mkdir -p -- "$(dirname -- "$dir")"
    # Valid-Until is not checked: a mirror may lag behind or be a snapshot. Signatures still are.
    # INITRD=No: the box has its own initramfs, and making Debian's takes long.
    INITRD=No quietly "$dir.log" mmdebstrap --variant=minbase --include="$packages" \
        --aptopt='Acquire::Check-Valid-Until "false"' "${options[@]}" "${DEBIAN_DPKG_OPTIONS[@]}" \
        "$@" "$suite" "$dir.new" "$mirror"
    [[ ! -d /etc/ssl/certs ]] || { mkdir -p -- "$dir.new/etc/ssl/certs" && cp -a -n /etc/ssl/certs/. "$dir.new/etc/ssl/certs/"; }
    rm -rf --one-file-system -- "$dir"
    mv -- "$dir.new" "$dir"
}

# in_tree DIR [--bind PATH]… CMD… — runs CMD chrooted into DIR, with a clean environment, /proc, and this machine's PATHs
# at the same place. The mounts end with CMD.
in_tree() {
    local dir=$1 paths=(/proc)
    shift
    while [[ $1 = --bind ]]; do
        mkdir -p -- "$dir$2"
        paths+=("$2")
        shift 2
    done
    # In a chroot "/" is no mount point and cannot be made private, so the mounts are also undone.
    # shellcheck disable=SC2016  # for the inner shell
    env -i HOME=/root LANG=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
        unshare --mount --propagation unchanged bash -c '
            set -euo pipefail
            dir=$1 count=$2 mounted=()
            trap '\''((${#mounted[@]} == 0)) || umount -l "${mounted[@]}"'\'' EXIT
            mount --make-rprivate / 2>/dev/null || true
            for path in "${@:3:count}"; do
                mount --rbind "$path" "$dir$path"
                mounted=("$dir$path" "${mounted[@]}")
            done
            chroot "$dir" "${@:3+count}"' in_tree "$dir" "${#paths[@]}" "${paths[@]}" "$@"
}
