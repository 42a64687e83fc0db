package extension

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/meta-gin-edge/meta-gin-edge/src/edge"
)

const (
	maxPageFiles = 256
	maxPageBytes = 4 << 20

	// pagePolicy has a page load nothing from elsewhere and run no script that
	// stands in its HTML.
	pagePolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; connect-src 'self'; " +
		"base-uri 'none'; form-action 'self'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)

// pageTypes are the files that a page may have. The table is our own, as that of
// the standard library depends on files of the system.
var pageTypes = map[string]string{
	".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".mjs": "text/javascript; charset=utf-8",
	".css": "text/css; charset=utf-8", ".json": "application/json", ".svg": "image/svg+xml", ".png": "image/png", ".jpg": "image/jpeg",
	".webp": "image/webp", ".ico": "image/x-icon", ".woff2": "font/woff2", ".txt": "text/plain; charset=utf-8", ".webmanifest": "application/manifest+json",
}

// page has a row for each file: what is not there at the start is not served.
func page(e edge.Extension) ([]edge.Route, error) {
	if e.Page == nil {
		return nil, nil
	}
	var rows []edge.Route
	size := 0
	err := fs.WalkDir(e.Page, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		kind := pageTypes[path.Ext(name)]
		if kind == "" {
			return fmt.Errorf("%s: files that end in %q are not served", name, path.Ext(name))
		}
		data, err := fs.ReadFile(e.Page, name)
		if err != nil {
			return err
		}
		if size += len(data); size > maxPageBytes || len(rows) >= maxPageFiles {
			return fmt.Errorf("%s: more than %d files or %d MiB in all", name, maxPageFiles, maxPageBytes>>20)
		}
		row := edge.Route{Method: http.MethodGet, Role: edge.Anyone, Path: "/ui/" + e.Name + "/" + name, Handle: file(data, kind)}
		rows = append(rows, row)
		if name == "index.html" {
			row.Path = "/ui/" + e.Name + "/"
			rows = append(rows, row)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("page: %w", err)
	}
	return rows, nil
}

// file serves bytes that do not change. They are held once, for all requests.
func file(data []byte, kind string) gin.HandlerFunc {
	sum := sha256.Sum256(data)
	tag := `"` + hex.EncodeToString(sum[:8]) + `"`
	return func(c *gin.Context) {
		header := c.Writer.Header()
		header.Set("Content-Type", kind)
		header.Set("ETag", tag)
		header.Set("Cache-Control", "no-cache") // to be asked again, with the tag
		header.Set("Content-Security-Policy", pagePolicy)
		header.Set("Referrer-Policy", "no-referrer")
		http.ServeContent(c.Writer, c.Request, "", time.Time{}, bytes.NewReader(data))
	}
}
