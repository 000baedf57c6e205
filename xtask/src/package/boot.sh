# Boots systemd as the first process of a container that has the package installed, and has it try the unit.
# usage: boot.sh SCRATCH PACKAGE TRIAL, as the first process of namespaces of its own
# TRIAL: a folder with trial.sh, for what comes of it
set -e
scratch=$1
mount -t tmpfs tmpfs "$scratch"
mkdir "$scratch/upper" "$scratch/work" "$scratch/merged"
mount -t overlay overlay -o "lowerdir=/,upperdir=$scratch/upper,workdir=$scratch/work" "$scratch/merged"
cp "$2" "$scratch/merged/ha-distributor.deb"
mkdir "$scratch/merged/trial"
mount --bind "$3" "$scratch/merged/trial"
cd "$scratch/merged"
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs tmpfs run
mount -t tmpfs tmpfs tmp
mount -t tmpfs tmpfs dev
mkdir dev/pts dev/shm
for device in null:3 zero:5 full:7 random:8 urandom:9; do
    mknod -m 666 "dev/${device%:*}" c 1 "${device#*:}"
done
mknod -m 666 dev/tty c 5 0
mount -t devpts devpts dev/pts -o newinstance,ptmxmode=0666
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
touch dev/console
# Without it, nothing can listen on the loopback interface.
ip link set lo up
chroot . dpkg --install /ha-distributor.deb
cat >etc/systemd/system/trial.service <<UNIT
[Unit]
Requires=systemd-journald.service
After=systemd-journald.service
[Service]
Type=oneshot
ExecStart=/bin/bash /trial/trial.sh
# Whatever came of it, this system ends.
ExecStopPost=systemctl --no-block poweroff
UNIT
mkdir old
pivot_root . old
umount -l old
# As in a container: units get copies of the mounts.
mount --make-rshared /
touch /trial/begun
exec env -i container=unshare PATH=/usr/sbin:/usr/bin:/sbin:/bin /usr/lib/systemd/systemd --system --unit=trial.service
