# The server as a container, for linux/amd64 and linux/arm64. It takes BuildKit, which Docker has had by default since 23.0.
#
#   docker build -t switchyard .
#   docker buildx build --platform linux/amd64,linux/arm64 -t REGISTRY/switchyard --push .
#
# Base images are arguments, so that it builds from a mirror, or from images of one's own, as well. With `--build-arg BINARY=prebuilt` nothing is compiled: the
# program is the file `switchyard` beside this one, or what PREBUILT names.
ARG BUILD_IMAGE=rust:1.95-bookworm
ARG NODE_IMAGE=node:22-bookworm-slim
# No shell and no package manager: the C library, which has to be at least as new as that of BUILD_IMAGE, and certificates.
ARG RUNTIME_IMAGE=gcr.io/distroless/cc-debian12
ARG BINARY=compiled

FROM --platform=$BUILDPLATFORM ${NODE_IMAGE} AS web
WORKDIR /source/web
# The packages first: they change less often than the sources.
COPY web/package.json web/package-lock.json ./
COPY web/sdk/package.json sdk/
COPY web/app/package.json app/
RUN npm ci --no-audit --no-fund
COPY web/ ./
RUN npm run build

# Compiled on this machine's own architecture for the one that is asked for: emulating the compiler would take hours.
FROM --platform=$BUILDPLATFORM ${BUILD_IMAGE} AS compiled
ARG BUILDARCH
ARG TARGETARCH
RUN set -eu; \
    case "$TARGETARCH" in \
      amd64) rust=x86_64-unknown-linux-gnu; gnu=x86_64-linux-gnu; debian=x86-64-linux-gnu; libc=libc6-dev-amd64-cross ;; \
      arm64) rust=aarch64-unknown-linux-gnu; gnu=aarch64-linux-gnu; debian=aarch64-linux-gnu; libc=libc6-dev-arm64-cross ;; \
      *) echo "neither amd64 nor arm64: $TARGETARCH" >&2; exit 1 ;; \
    esac; \
    if [ "$BUILDARCH" != "$TARGETARCH" ]; then \
      rustup target add "$rust"; \
      apt-get update; apt-get install -y --no-install-recommends "gcc-$debian" "$libc"; rm -rf /var/lib/apt/lists/*; \
    fi; \
    echo "export CARGO_BUILD_TARGET=$rust CARGO_TARGET_$(echo "$rust" | tr a-z- A-Z_)_LINKER=$gnu-gcc" > /target
WORKDIR /source
COPY . .
COPY --from=web /source/web/app/dist web/app/dist
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/source/target \
    . /target && CARGO_PROFILE_RELEASE_STRIP=debuginfo cargo build --release --locked --package switchyard --bin switchyard && \
    cp "target/$CARGO_BUILD_TARGET/release/switchyard" /switchyard
WORKDIR /volumes/acme
WORKDIR /volumes/secrets

FROM scratch AS prebuilt
ARG PREBUILT=switchyard
COPY ${PREBUILT} /switchyard
WORKDIR /volumes/acme
WORKDIR /volumes/secrets

FROM ${BINARY} AS binary

FROM ${RUNTIME_IMAGE}
COPY --from=binary /switchyard /usr/local/bin/switchyard
# For volumes, a new one of which gets its folder's owner: /secrets, what servers share, and /acme, what an ACME server gives.
COPY --from=binary --chown=65534:65534 /volumes/ /
# nobody: the server writes nothing but what ACME gives, and Docker lets everybody have every port of a container. The root may be read-only and all capabilities may be dropped.
USER 65534:65534
EXPOSE 8080/tcp 8080/udp
STOPSIGNAL SIGTERM
# It finds the server by the environment and the configuration file that the server has; so options for addresses belong there, not into the command.
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s CMD ["/usr/local/bin/switchyard", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/switchyard"]
CMD ["serve"]
