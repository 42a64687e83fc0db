# shellcheck shell=sh
# Sourced: puts a Go that is new enough for src/go.mod in front of PATH.

# use_go GO_MOD: Go 1.21 and later fetch the toolchain that go.mod asks for by
# themselves. Debian 12's older one cannot, but the toolchain is published as a
# module: `go mod download` gets it, checked against the checksum database. An
# archive of a module carries no mode bits, so they are set here.
use_go() {
    go_wanted=$(sed -n 's/^go \([0-9.]*\)$/\1/p' "$1")
    [ -n "$go_wanted" ] || {
        echo "$1: no line 'go VERSION' in it" >&2
        return 1
    }
    # Debian's Go is set not to switch; the project's go.mod decides.
    export GOTOOLCHAIN="${GOTOOLCHAIN:-auto}"
    go_have=$(go env GOVERSION)
    case $go_have in
    go1.1 | go1.1[!0-9]* | go1.[2-9] | go1.[2-9].* | go1.1[0-9] | go1.1[0-9].* | go1.20 | go1.20.*) ;;
    *) return 0 ;;
    esac
    go_host=$(go env GOHOSTOS)-$(go env GOHOSTARCH)
    echo "$go_have is too old: getting Go $go_wanted" >&2
    go_root=$(cd / && go mod download -json "golang.org/toolchain@v0.0.1-go$go_wanted.$go_host" |
        sed -n 's/^[[:space:]]*"Dir": "\(.*\)",*$/\1/p')
    [ -x "$go_root/bin/go" ] || find "$go_root/bin" "$go_root/pkg/tool" -type f -exec chmod 0555 {} +
    PATH=$go_root/bin:$PATH
    export PATH GOTOOLCHAIN=local
}

# build_command SRC ARCH OUT VERSION PACKAGE: commands of a module as the image has them, but for
# what the recipe leaves to packaging: stripping is the linker's work here.
build_command() {
    (cd "$1" && CGO_ENABLED=0 GOOS=linux GOARCH=$2 go build -tags nomsgpack -trimpath -buildvcs=false -buildmode=pie \
        -ldflags "-s -w -bindnow -X github.com/meta-gin-edge/meta-gin-edge/src/edged.version=$4" -o "$3" "$5")
}

# build_commands SRC ARCH FOLDER [VERSION]: every command of the module.
build_commands() { build_command "$1" "$2" "$3/" "${4:-devel}" ./cmd/...; }
