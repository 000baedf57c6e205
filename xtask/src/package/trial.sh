# What an administrator does with the unit, by the systemd that runs this.
exec >/trial/log 2>&1
set -ex
unit=ha-distributor.service
config=/etc/ha-distributor/distributor.yaml
ready() {
    { exec 3<>/dev/tcp/127.0.0.1/8080; } || return 1
    printf 'GET /ready HTTP/1.0\r\n\r\n' >&3
    head -n 1 <&3 | grep -q ' 200 '
}
becomes() {
    set +x
    for _ in $(seq 600); do
        if "$@" 2>/dev/null; then
            set -x
            return
        fi
        sleep 0.1
    done
    journalctl --no-pager --unit $unit
    exit 1
}
logs() { journalctl --no-pager --unit $unit | grep -q "$1"; }
is_another() {
    now=$(systemctl show --property MainPID --value $unit)
    [ "$now" != 0 ] && [ "$now" != "$1" ] && ready
}
has_failed() { [ "$(systemctl show --property ActiveState --value $unit)" = failed ]; }
systemctl start $unit
becomes ready
pid=$(systemctl show --property MainPID --value $unit)
user=$(id -u ha-distributor)
grep -P "^Uid:\t$user\t$user\t$user\t$user$" /proc/$pid/status
grep -P "^CapEff:\t0+$" /proc/$pid/status
grep -P "^CapBnd:\t0+$" /proc/$pid/status
grep -P "^NoNewPrivs:\t1$" /proc/$pid/status
grep -P "^Seccomp:\t2$" /proc/$pid/status
# It sees the file system as read-only.
[ -z "$(grep -P '^\S+ / \S+ rw' /proc/$pid/mounts)" ]
systemctl reload $unit
becomes logs "certificates and secrets have not changed"
# It is started again after a crash.
systemctl kill --signal=KILL $unit
becomes is_another "$pid"
# With a mistake in the configuration, the start is not tried again.
cp $config /tmp/config
echo 'servre: {}' >>$config
systemctl restart $unit || true
becomes has_failed
logs servre
[ "$(systemctl show --property NRestarts --value $unit)" = 0 ]
cp /tmp/config $config
systemctl start $unit
becomes ready
systemctl stop $unit
[ "$(systemctl show --property Result --value $unit)" = success ]
[ "$(systemctl show --property ExecMainStatus --value $unit)" = 0 ]
echo done >/trial/outcome
