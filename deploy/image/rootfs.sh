#!/bin/sh
# Puts together everything that is in the image: the program, the libraries that it needs, the
# certificates of public authorities, and two users. No shell, no package manager.
#
# usage: rootfs.sh PROGRAM FOLDER [LIBRARIES]
#
# LIBRARIES are the folders to find libraries in, separated by spaces; by default those of this machine.
# What is found there decides by name alone, so that an image for another architecture can be made.
set -eu
program=$1 root=$2
libraries=${3:-"/lib/$(uname -m)-linux-gnu /usr/lib/$(uname -m)-linux-gnu /lib64"}

umask 022
mkdir -p "$root/usr/bin" "$root/etc/ssl/certs" "$root/etc/ha-distributor" "$root/var/lib/dpkg/status.d" "$root/tmp"
chmod 1777 "$root/tmp"
cp "$program" "$root/usr/bin/distributor"
chmod 755 "$root/usr/bin/distributor"

find_library() {
    for folder in $libraries; do
        if [ -e "$folder/$1" ]; then
            echo "$folder/$1"
            return
        fi
    done
    echo "rootfs.sh: no $1 in $libraries" >&2
    exit 1
}

# The package of a file, for scanners that search images for known vulnerabilities.
record_package() {
    command -v dpkg-query >/dev/null || return 0
    package=$(dpkg-query --search "$(readlink -f "$1")" 2>/dev/null | sed 's/: .*//' | head -n 1)
    [ -n "$package" ] || package=$(dpkg-query --search "$(readlink -f "$1" | sed 's|^/usr||')" 2>/dev/null | sed 's/: .*//' | head -n 1)
    [ -n "$package" ] || return 0
    dpkg-query --status "$package" | sed '/^Conffiles:/,/^[^ ]/{/^Conffiles:/d;/^ /d}' >"$root/var/lib/dpkg/status.d/$(echo "$package" | tr ':' '_')"
}

# Each library that is needed, and those that these need.
interpreter=$(readelf --program-headers "$program" | sed -n 's/.*interpreter: \(.*\)\]/\1/p')
waiting=$(readelf --dynamic "$program" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p')
copied=
while [ -n "$waiting" ]; do
    set -- $waiting
    name=$1
    shift
    waiting=$*
    case " $copied " in *" $name "*) continue ;; esac
    copied="$copied $name"
    file=$(find_library "$name")
    if [ "$name" = "$(basename "$interpreter")" ]; then
        target="$root$interpreter"
    else
        target="$root/usr/lib/$name"
    fi
    mkdir -p "$(dirname "$target")"
    cp --dereference "$file" "$target"
    chmod 755 "$target"
    record_package "$file"
    waiting="$waiting $(readelf --dynamic "$file" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p')"
done
if [ -n "$interpreter" ] && [ ! -e "$root$interpreter" ]; then
    mkdir -p "$root$(dirname "$interpreter")"
    file=$(find_library "$(basename "$interpreter")")
    cp --dereference "$file" "$root$interpreter"
    chmod 755 "$root$interpreter"
    record_package "$file"
fi

cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
record_package /usr/sbin/update-ca-certificates
printf 'root:x:0:0:root:/:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/:/sbin/nologin\n' >"$root/etc/passwd"
printf 'root:x:0:\nnonroot:x:65532:\n' >"$root/etc/group"
printf 'hosts: files dns\n' >"$root/etc/nsswitch.conf"

# The same content is the same image.
find "$root" -exec touch --no-dereference --date="@${SOURCE_DATE_EPOCH:-0}" {} +
