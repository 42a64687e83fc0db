package api

import (
	"net/http"

	"github.com/gin-gonic/gin"

	spec "github.com/meta-gin-edge/meta-gin-edge/src/api"
	"github.com/meta-gin-edge/meta-gin-edge/src/edge"
)

type openAPIResource struct{}

func (openAPIResource) routes() []edge.Route {
	return []edge.Route{{Method: http.MethodGet, Path: "/openapi.json", Role: edge.Anyone, Handle: func(c *gin.Context) {
		if !noQuery(c) {
			return
		}
		c.Data(http.StatusOK, "application/json", spec.OpenAPI)
	}}}
}
