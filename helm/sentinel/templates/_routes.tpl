{{/*
What `sentinel validate` would refuse of `config.upstreams` and `config.routes`, as far as a template can tell: a list as
JSON. The schema has seen to members and types; this is about names, paths, permissions and routes beside one another. What
is filled from the environment (`${NAME}`) is left to the pod.
*/}}
{{- define "sentinel.routeMistakes" -}}
{{- $found := list }}
{{- $upstreams := list }}
{{- range $upstream := default list .upstreams }}
{{- if has $upstream.name $upstreams }}
{{- $found = append $found (printf "`config.upstreams`: two are called %s: rename one." $upstream.name) }}
{{- end }}
{{- $upstreams = append $upstreams $upstream.name }}
{{- range $target := $upstream.targets }}
{{- $url := kindIs "map" $target | ternary (get (kindIs "map" $target | ternary $target dict) "url") $target }}
{{- if not (regexMatch "^https?://[^/]|\\$\\{" (toString $url)) }}
{{- $found = append $found (printf "The upstream %s: a target must be a URL such as http://orders.shop:3000, not %v." $upstream.name $url) }}
{{- end }}
{{- end }}
{{- end }}
{{- $names := list }}
{{- $seen := dict }}
{{- range $route := default list .routes }}
{{- $said := printf "The route %s" $route.name }}
{{- if has $route.name $names }}
{{- $found = append $found (printf "`config.routes`: two are called %s: rename one." $route.name) }}
{{- end }}
{{- $names = append $names $route.name }}
{{- if not (or (has $route.upstream $upstreams) (contains "${" $route.upstream) (contains "${" (join "" $upstreams))) }}
{{- $found = append $found (printf "%s: there is no upstream %s; the upstreams are %s." $said $route.upstream (join ", " $upstreams)) }}
{{- end }}
{{- $match := default dict $route.match }}
{{- if and $match.path $match.pathPrefix }}
{{- $found = append $found (printf "%s: `path` and `pathPrefix` exclude each other: leave one out." $said) }}
{{- end }}
{{- $path := default (default "/" $match.pathPrefix) $match.path }}
{{- if not (contains "${" $path) }}
{{- if not (hasPrefix "/" $path) }}
{{- $found = append $found (printf "%s: its path must begin with a slash: %s." $said $path) }}
{{- else if contains "//" $path }}
{{- $found = append $found (printf "%s: its path must not hold an empty segment: %s." $said $path) }}
{{- end }}
{{- range $name := regexFindAll "\\{path\\.[^{}]+\\}" (default "" $route.permissions) -1 }}
{{- $name = $name | trimPrefix "{path." | trimSuffix "}" }}
{{- if not (contains (printf "{%s}" $name) $path) }}
{{- $found = append $found (printf "%s: its permissions name {path.%s}, but its path has no {%s}: %s." $said $name $name $path) }}
{{- end }}
{{- end }}
{{- end }}
{{- range $method := default list $match.methods }}
{{- if and (ne $method (upper $method)) (not (contains "${" $method)) }}
{{- $found = append $found (printf "%s: %s is not a method that requests can have: write %s." $said $method (upper $method)) }}
{{- end }}
{{- end }}
{{- if and $route.permissions (not (contains "${" $route.permissions)) }}
{{- range $tuple := regexSplit "[\\s()]+" $route.permissions -1 }}
{{- $filled := regexReplaceAll "\\{[^{}]*\\}" $tuple "x" }}
{{- if not (or (eq $tuple "") (regexMatch "^(?i:and|or)$|^[A-Za-z0-9_:/-]+\\.([A-Za-z0-9_:/-]+|\\*)\\.[A-Za-z0-9_:/-]+$" $filled)) }}
{{- $found = append $found (printf "%s: %s is no permission: three parts, resourceType.resourceId.action." $said $tuple) }}
{{- end }}
{{- end }}
{{- end }}
{{- $shape := toJson (list (lower (default "" $match.host)) (hasKey $match "path") (regexReplaceAll "/\\{[^{}]*\\}" $path "/{}") (sortAlpha (default list $match.methods)) (default dict $match.headers)) }}
{{- if hasKey $seen $shape }}
{{- $found = append $found (printf "The routes %s and %s can not be told apart: give one another path, host, methods or headers." (get $seen $shape) $route.name) }}
{{- end }}
{{- $_ := set $seen $shape $route.name }}
{{- end }}
{{- toJson $found }}
{{- end }}
