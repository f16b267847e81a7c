# shellcheck shell=bash
# Installs the Debian packages the scripts and the build need. Sourced after common.sh.

# To build the workspace on this machine.
# shellcheck disable=SC2034
BUILD_PACKAGES=(gcc libc6-dev make pkg-config libsdl2-dev)

# For the feature "virgl" and its tests besides; virglrenderer 1.0 or later, so not on Debian 12. The last two are for
# Vulkan: the server that it is rendered in, and a driver that renders in software.
# shellcheck disable=SC2034
VIRGL_BUILD_PACKAGES=(libvirglrenderer-dev libegl-mesa0 libgl1-mesa-dri libgles2 virgl-server mesa-vulkan-drivers)

# What its tests need besides: an X server, a user and a window manager for it, GL in software, and somebody who reads
# EDIDs.
# shellcheck disable=SC2034
TEST_PACKAGES=(xvfb xdotool openbox libgl1-mesa-dri edid-decode)

# is_installed PACKAGE
is_installed() { [[ $(dpkg-query -Wf '${db:Status-Status}' "$1" 2>/dev/null) = installed ]]; }

# need_packages PACKAGE… — installs those that are missing; needs root only then.
need_packages() {
    local package missing=()
    for package in "$@"; do
        is_installed "$package" || missing+=("$package")
    done
    ((${#missing[@]})) || return 0
    [[ $(id -u) = 0 ]] || die "missing packages; as root: apt-get install ${missing[*]}"
    step "installing ${missing[*]}"
    quietly "$TOP/target/logs/apt.log" apt_get update
    quietly "$TOP/target/logs/apt.log" apt_get install --no-install-recommends "${missing[@]}"
}

apt_get() { DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=600 "$@"; }
