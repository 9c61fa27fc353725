# The server as a container. Base images are arguments, so that it builds from a mirror, or from images of one's own, as well.
ARG BUILD_IMAGE=rust:1.95-bookworm
ARG NODE_IMAGE=node:22-bookworm-slim
ARG RUNTIME_IMAGE=debian:bookworm-slim

FROM ${NODE_IMAGE} AS web
WORKDIR /source/web
# The packages first: they change less often than the sources.
COPY web/package.json web/package-lock.json ./
COPY web/sdk/package.json sdk/
COPY web/app/package.json app/
RUN npm ci --no-audit --no-fund
COPY web/ ./
RUN npm run build

FROM ${BUILD_IMAGE} AS build
WORKDIR /source
COPY . .
COPY --from=web /source/web/app/dist web/app/dist
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/source/target \
    cargo build --release --locked --package switchyard && cp target/release/switchyard /switchyard

FROM ${RUNTIME_IMAGE}
COPY --from=build /switchyard /usr/local/bin/switchyard
# nobody: the server needs no file and no privileged port.
USER 65534:65534
EXPOSE 8080/tcp 8080/udp
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/switchyard"]
CMD ["serve", "--dev"]
