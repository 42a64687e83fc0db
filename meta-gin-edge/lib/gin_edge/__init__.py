# The modules that recipes and classes of this layer call as gin_edge.NAME, see addpylib in conf/layer.conf.
BBIMPORTS = ["kernel"]
