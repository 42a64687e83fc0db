package hostile

import (
	"flag"
	"path/filepath"
)

const unitFile = "meta-gin-edge/recipes-gin-edge/gin-edge/files/gin-edged.service"

var (
	targetFlag = flag.String("target", "", "what to attack: process, try, try:amd64, try:arm64 or image; without one only the tests of the harness itself run")
	setFlag    = flag.String("set", "short", "short: what a push runs; full: everything, with restarts and memory followed to its baseline")
	bootArgs   = flag.String("boot-args", "", "further `arguments` for scripts/try or scripts/boot, separated by spaces")
	reloads    = flag.Int("reloads", 0, "reload so often in each row, instead of what the row and the set say; choose rows with -run, whatever the set")
	restarts   = flag.Int("restarts", 0, "the same for restarts")
	clients    = flag.Int("clients", 0, "so many keep-alive clients meanwhile, instead of 8 or what the row says; a multiple of 4, as they have four habits")
	binaryFlag = flag.String("binary", "", "attack this `file` instead of what the checkout builds; with -target=process")
)

// asked tells that somebody has named reloads or restarts: no set leaves rows out.
func asked() bool { return *reloads > 0 || *restarts > 0 }

// root is the checkout; tests run in their package's folder.
var root = must(filepath.Abs("../.."))

// folder keeps the results and the logs of the run.
var folder string

// yardstick is the address of a server that nobody attacks.
var yardstick string

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}
