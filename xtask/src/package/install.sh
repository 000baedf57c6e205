# Installs a package, upgrades it, removes it and purges it, as an administrator does.
# usage: install.sh SCRATCH PACKAGE, in a mount namespace of its own
set -e
scratch=$1
mount -t tmpfs tmpfs "$scratch"
mkdir "$scratch/upper" "$scratch/work" "$scratch/merged"
mount -t overlay overlay -o "lowerdir=/,upperdir=$scratch/upper,workdir=$scratch/work" "$scratch/merged"
cp "$2" "$scratch/merged/ha-distributor.deb"
mount -t proc proc "$scratch/merged/proc"
echo begun
exec chroot "$scratch/merged" sh -ec '
    config=/etc/ha-distributor/distributor.yaml
    dpkg --install /ha-distributor.deb
    getent passwd ha-distributor
    [ "$(stat -c "%a %U:%G" /etc/ha-distributor)" = "750 root:ha-distributor" ]
    [ "$(stat -c "%a %U:%G" $config)" = "640 root:ha-distributor" ]
    setpriv --reuid=ha-distributor --regid=ha-distributor --clear-groups \
        distributor -config.file=$config -config.check
    # Credentials are not for other users.
    if setpriv --reuid=nobody --regid=nogroup --clear-groups cat $config; then exit 1; fi
    echo "# changed here" >>$config
    dpkg --force-confold --install /ha-distributor.deb
    grep -q "changed here" $config
    [ "$(stat -c "%a %U:%G" $config)" = "640 root:ha-distributor" ]
    dpkg --remove ha-distributor
    [ -e $config ]
    [ ! -e /usr/bin/distributor ]
    dpkg --purge ha-distributor
    [ ! -e /etc/ha-distributor ]
    echo done
'
