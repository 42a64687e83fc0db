# shellcheck shell=sh
# Sourced by scripts/test: the steps for scripts, kas files and recipes.
# shellcheck disable=SC2034,SC2154,SC2164 # variables of scripts/test, which has set -e

step_shell() { need git git; need shellcheck shellcheck; "$checks/shell"; }
step_python() { need git git; need_python; PYTHON=$python "$checks/python"; }
step_kas_schema() { need_python; "$python" "$checks/kas-schema"; }
step_kconfig() { need_python; "$python" "$checks/kconfig"; }
step_boards() { need python3 python3; "$checks/boards"; }
step_oelint() { need_python; "$python" "$checks/oelint"; }
step_static_user() { need python3 python3; "$checks/static-user"; }
step_module_pins() { need python3 python3; need_go; "$checks/module-pins"; }

step_checks_bite() {
    need_python
    need mformat mtools
    need_go
    need_apidiff
    need readelf binutils
    need shellcheck shellcheck
    need make make
    PYTHON=$python "$checks/checks-bite"
}

step_build_command() {
    need python3 python3
    need git git
    for file in "$suite"/build/test_*.py; do
        rc=0
        (cd "$suite/build" && python3 -B -m unittest -v "$(basename "$file" .py)" > "$STEP_LOG.unittest" 2>&1) || rc=$?
        cat "$STEP_LOG.unittest"
        [ $rc -eq 0 ] || failed=1
        sed -n "s/^\(test_[a-z_]*\).* \.\.\. skipped [\"']\(.*\)[\"']$/\1: \2/p" "$STEP_LOG.unittest" >> "$STEP_LOG.skipped"
        ran=$((${ran:-0} + $(sed -n 's/^Ran \([0-9]*\) test.*/\1/p' "$STEP_LOG.unittest")))
    done
    [ -z "${failed-}" ] || return 1
    echo "$ran tests of scripts/build"
}

step_build_from_nothing() {
    [ "$(id -u)" = 0 ] || skip "needs root, for chroot"
    need debootstrap debootstrap
    "$suite/build/from-nothing"
}
