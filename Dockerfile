# The gateway's image: Node, the bundle, and nothing else. No shell, no package manager, no node_modules.
# `docker build -t sentinel:0.1.0 .`; runs as 65532 on a read-only root. Kubernetes has probes, so there is no HEALTHCHECK.
FROM node:24-slim AS build
WORKDIR /src
COPY package.json package-lock.json .npmrc LICENSE ./
RUN npm ci --ignore-scripts --no-audit --no-fund
COPY build.mjs third-party.mjs ./
COPY src ./src
# What of the dependencies is used is in the bundle, with their licences and with what V8 compiles of `start`: that holds
# where the Node below is of the same version, any other compiles it anew. Source maps are two thirds of it and read by
# nobody at run time.
RUN npm run --silent build && rm dist/*.map
# `sentinel` as a command, for `kubectl exec`: the base image has no env(1) to find node with.
RUN mkdir -p image/app/bin image/etc/sentinel/config \
    && cp -r dist package.json LICENSE image/app/ \
    && sed -i '1s|.*|#!/nodejs/bin/node|' image/app/dist/sentinel.js \
    && ln -s ../dist/sentinel.js image/app/bin/sentinel

FROM gcr.io/distroless/nodejs24-debian13:nonroot
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="sentinel" \
    org.opencontainers.image.description="A reverse proxy that guards HTTP services with root keys and permission tuples." \
    org.opencontainers.image.licenses="MIT" \
    org.opencontainers.image.version="$VERSION" \
    org.opencontainers.image.revision="$REVISION"
COPY --from=build /src/image/ /
ENV NODE_ENV=production PATH=/app/bin:/nodejs/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
WORKDIR /app
# Numeric, so that Kubernetes can see that it is not root.
USER 65532:65532
EXPOSE 8080 9090
STOPSIGNAL SIGTERM
ENTRYPOINT ["/nodejs/bin/node", "/app/dist/sentinel.js"]
CMD ["start", "-c", "/etc/sentinel/config/sentinel.yaml"]
