# The gateway alone in an image: a static binary, the authorities of TLS, an example of a configuration. See docs/install.md.
#
#     docker build --build-arg VERSION="$(git describe --tags --always)" -t dcmgate .
#
# `make image` builds the same with buildah from a binary built outside, without any other image.
FROM docker.io/library/golang:1.26-bookworm AS build
ARG VERSION=unknown
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN make build VERSION="$VERSION" && scripts/image-root bin/dcmgate /image

FROM scratch
ARG VERSION=unknown
LABEL org.opencontainers.image.title="dcmgate" \
      org.opencontainers.image.description="DICOM gateway: receive, keep, deliver" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.documentation="docs/install.md"
COPY --from=build /image/root/ /
COPY --from=build --chown=10001:10001 /image/state/ /var/lib/
USER 10001:10001
WORKDIR /var/lib/dcmgate
VOLUME /var/lib/dcmgate
# DICOM, page and metrics, interface 203
EXPOSE 11112 8080 8081
HEALTHCHECK --interval=30s --timeout=10s --start-period=5m CMD ["/usr/bin/dcmgate", "healthcheck"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/bin/dcmgate"]
CMD ["serve", "--config", "/etc/dcmgate/dcmgate.yaml"]
