# shellcheck shell=sh
# Sourced by scripts/try: --watch. Builds anew when a file of the service has changed, and hands the build to the guest
# (watch/serve here, watch/quick-watch there).
# shellcheck disable=SC2154 # variables of scripts/try

watched() { # what is built from these folders, as one line
    find "$@" -type f ! -name '.*' ! -path '*/.*' ! -name '*_test.go' -printf '%p %T@ %s\n' 2>/dev/null | LC_ALL=C sort | sha256sum
}

uptime_now() { read -r up _ </proc/uptime; printf '%s\n' "$up"; }
since() { awk -v from="$1" -v to="$(uptime_now)" 'BEGIN { printf "%.1f s", to - from }'; }

rebuild() {
    changed=$(uptime_now) number=$((number + 1))
    say "a file has changed; building"
    if ! build_service "$temp/serve/new"; then
        say "not built, see above: the earlier one keeps running"
        return 0
    fi
    say "built in $(since "$changed")"
    mv "$temp/serve/new" "$temp/serve/binary"
    # After the binary, whole: the guest asks for it as soon as it sees another id.
    echo "build-$number" >"$temp/serve/id.new"
    mv "$temp/serve/id.new" "$temp/serve/id"
}

tell() { # what the guest said since the last time
    mv "$temp/serve/told" "$temp/serve/telling"
    while IFS=' ' read -r build what text; do
        [ "$build" = "build-$number" ] || continue
        case $what in
        running) say "running in the guest $(since "$changed") after the change was seen" ;;
        said) say "guest: $text" ;;
        refused) say "it does not start, see above: the earlier one runs again" ;;
        esac
    done <"$temp/serve/telling"
}

watch_service() { # FOLDER...: until the guest is gone
    number=0 before=$(watched "$@")
    while kill -0 "$boot" 2>/dev/null; do
        sleep 0.5 || :
        now=$(watched "$@")
        if [ "$now" != "$before" ]; then
            # An editor may write more than one file, and not at once.
            sleep 0.2 || :
            before=$(watched "$@")
            rebuild
        fi
        if [ -s "$temp/serve/told" ]; then tell; fi
    done
}
