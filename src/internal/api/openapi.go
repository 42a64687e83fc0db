package api

import (
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/meta-gin-edge/meta-gin-edge/src/edge"
)

type openAPIResource struct{ document []byte }

func (o openAPIResource) routes() []edge.Route {
	return []edge.Route{{Method: http.MethodGet, Path: "/openapi.json", Role: edge.Anyone, Handle: func(c *gin.Context) {
		if !noQuery(c) {
			return
		}
		c.Data(http.StatusOK, "application/json", o.document)
	}}}
}
