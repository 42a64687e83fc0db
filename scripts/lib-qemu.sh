# shellcheck shell=sh
# Sourced by scripts/boot: QEMU from its start to its end.
# shellcheck disable=SC2154 # variables of scripts/boot

# Hundredths of a second since the host booted: no jump of the clock disturbs
# the measurement.
now() {
    read -r up _ </proc/uptime
    frac=${up#*.}
    # 08 would be a malformed octal number: put a digit in front, take it off.
    printf '%s\n' $((${up%.*} * 100 + 1$frac - 100))
}
seconds() { printf '%d.%d' $(($1 / 100)) $(($1 / 10 % 10)); }

# Commas separate the parts of an option, so one in a path is doubled.
doubled() { printf '%s\n' "$1" | sed 's/,/,,/g'; }

choose_accel() {
    case $arch:$(uname -m) in
    arm64:aarch64 | amd64:x86_64) accel=kvm ;;
    *) accel=tcg ;;
    esac
    accel=${machine_accel:-$accel}
    if ! (: <>/dev/kvm) 2>/dev/null; then accel=tcg; fi
}

launch() {
    d=$(doubled "$dir")
    machine_qemu -name gin-edge -no-user-config -nodefaults -display none -accel "$accel" \
        -kernel "$kernel" -append "$append" ${initrd:+-initrd "$initrd"} \
        -netdev "user,id=net,hostfwd=tcp:127.0.0.1:$port-:$guest_port${ssh:+,hostfwd=tcp:127.0.0.1:0-:22}${serve:+,guestfwd=tcp:10.0.2.100:1-cmd:$(doubled "$serve")}" \
        -chardev "socket,id=ser,path=$d/console.sock,server=on,wait=off,logfile=$d/serial.log" \
        -serial chardev:ser \
        -qmp "unix:$d/qmp.sock,server=on,wait=off" \
        -chardev stdio,id=mon,signal=off -mon chardev=mon,mode=readline \
        -pidfile "$dir/qemu.pid"
}

start_qemu() { # OPTION...
    # A session of its own: Ctrl-C in the terminal reaches this script alone.
    # It does not outlive this script: one that was killed cannot end it any more.
    setsid setpriv --pdeathsig KILL "$qemu" "$@" <"$dir/monitor" >"$dir/monitor.log" 2>"$dir/qemu.log" 8>&- &
    pid=$!
    json_list "$qemu" "$@" >"$dir/argv.json"
}

running() { kill -0 "$pid" 2>/dev/null; }
monitor() { printf '%s\n' "$1" >&8; }
serial_tail() {
    [ -s "$dir/serial.log" ] || return 0
    say "the last lines of $dir/serial.log:"
    tail -n 30 "$dir/serial.log" >&2
}

# A KVM that opens may still not run a guest (nested, or a CPU it cannot show):
# QEMU then aborts, or stops the guest, before the first line on the serial line.
launch_anyhow() {
    started=$(now)
    launch
    while [ "$accel" = kvm ] && [ ! -s "$dir/serial.log" ] && ! grep -q 'host forwarding' "$dir/qemu.log"; do
        if ! running || grep -q '^KVM internal error' "$dir/qemu.log" ||
            [ $(($(now) - started)) -gt 1000 ]; then
            say "KVM does not run this guest; emulating (TCG) instead"
            if running; then kill "$pid"; fi
            wait "$pid" || :
            accel=tcg
            started=$(now)
            launch
        else
            sleep 0.1 || :
        fi
    done
}

# --- what it was started with -------------------------------------------------

json() { # TEXT: as a string of JSON; there are no control characters in it
    printf '"%s"' "$(printf %s "$1" | sed 's/[\\"]/\\&/g')"
}
json_list() { # TEXT...
    separator='['
    for text; do
        printf '%s' "$separator"
        json "$text"
        separator=', '
    done
    printf ']\n'
}

# For those who want to start the like of it, or to know where what is.
write_run() {
    # The pieces of the disk behind the overlay are whole bytes: "1.17 GiB (1258291200 bytes)".
    disk_bytes=$(qemu-img info -U "$overlay" | sed -n 's/^virtual size: .*(\([0-9]*\) bytes)$/\1/p')
    ssh_port=$(awk '/HOST_FORWARD/ && $6 == 22 { print $4 }' "$dir/monitor.log")
    cat >"$dir/run.json" <<JSON
{"machine": $(json "$machine"), "arch": $(json "$arch"), "accel": $(json "$accel"), "memory_mb": $memory,
 "kernel": $(json "$kernel"), "initrd": $(json "$initrd"), "append": $(json "$append"),
 "disk": $(json "$disk"), "disk_bytes": $disk_bytes, "overlay": $(json "$overlay"),
 "ports": {"service": ${url##*:}, "ssh": ${ssh_port:-null}}, "qemu": $(cat "$dir/argv.json")}
JSON
    rm "$dir/argv.json"
}

# --- its end --------------------------------------------------------------------

finish() { # STATUS
    if running; then
        monitor quit
        wait "$pid" || :
    fi
    rm -f "$dir/monitor" "$dir/console.sock" "$dir/qmp.sock" "$dir/qemu.pid" "$dir/argv.json"
    # Logs are worth keeping; a disk that nobody can name again is not.
    if [ -n "$own_dir" ]; then rm -f "$overlay" ${unpacked:+"$unpacked"}; fi
    exit "$1"
}

# QEMU is gone: true when the guest powered itself off, else it tells why.
ended() {
    status=0
    wait "$pid" || status=$?
    [ "$status" -ne 0 ] || return 0
    say "QEMU ended with status $status:"
    cat "$dir/qemu.log" >&2
    if grep -q 'host forwarding' "$dir/qemu.log"; then
        say "port $port on 127.0.0.1 is taken: choose another with --port"
    fi
    return 1
}

power_down() {
    if [ -z "$machine_button" ]; then
        say "the board has no power button: power cut"
        finish 0
    fi
    say "powering the guest down (Ctrl-C again: at once)"
    monitor system_powerdown
    begin=$(now) seen=$stop
    while running; do
        if [ "$stop" -gt "$seen" ]; then
            say "not powered down cleanly: stopped at once on request"
            finish 1
        fi
        if [ $(($(now) - begin)) -gt 6000 ]; then
            say "not powered down cleanly: the guest did not react within 60 s"
            serial_tail
            finish 1
        fi
        sleep 0.2 || :
    done
    if ended; then
        say "powered down cleanly"
        finish 0
    fi
    finish 1
}
