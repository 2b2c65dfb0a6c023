# The images of rust-farm itself:
#   docker build --target builder    .   what the template's Dockerfile starts from
#   docker build --target autoscaler .   the autoscaler
# Plain instructions only: the legacy builder and BuildKit both take it, on any architecture.
ARG RUST_IMAGE=rust:1.95-slim-bookworm

# Writes the list of a binary's crates into it, for an SBOM.
FROM ${RUST_IMAGE} AS auditable
RUN cargo install --quiet --locked cargo-auditable@0.7.7 --root /opt/auditable

# The toolchain, and the SDK with all it depends on, compiled as functions compile it.
FROM ${RUST_IMAGE} AS builder
ENV CARGO_TARGET_DIR=/opt/rust-farm/target \
    CARGO_PROFILE_RELEASE_STRIP=true

WORKDIR /opt/rust-farm/source
COPY Cargo.toml Cargo.lock ./
COPY farm-core farm-core
COPY farm-http farm-http
COPY farm-nats farm-nats
COPY farm-sdk farm-sdk

# A function asks for farm-sdk as from crates.io. The new function of the template is compiled as
# a user's would be, then forgotten: what it depends on stays.
COPY template/rust-farm/function /tmp/warm-up
RUN mkdir -p "${CARGO_HOME}" && \
    printf '[patch.crates-io]\nfarm-sdk.path = "%s/farm-sdk"\n' "$PWD" >>"${CARGO_HOME}/config.toml" && \
    sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1 >/opt/rust-farm/version && \
    cp Cargo.lock /tmp/warm-up && \
    cd /tmp/warm-up && \
    cargo fetch --target "$(rustc --print host-tuple)" && \
    cargo test --frozen --release --no-run && \
    cargo clean --frozen --release -p function && \
    rm -r /tmp/warm-up

COPY --from=auditable /opt/auditable/bin/cargo-auditable /usr/local/bin/
COPY tools/images/build-function.sh /usr/local/bin/build-function
COPY tools/images/image-root.sh /usr/local/bin/image-root

ARG IMAGE_SOURCE=https://github.com/rust-farm/rust-farm
ARG IMAGE_REVISION=
LABEL org.opencontainers.image.title="rust-farm builder" \
      org.opencontainers.image.source="${IMAGE_SOURCE}" \
      org.opencontainers.image.revision="${IMAGE_REVISION}" \
      org.opencontainers.image.licenses="Apache-2.0 OR MIT"

# From the builder, because most of what the autoscaler needs is compiled there.
FROM builder AS autoscaler-build
ARG FARM_SBOM=
COPY . .
RUN cargo ${FARM_SBOM:+auditable} build --release --locked -p farm-autoscaler && \
    image-root "${CARGO_TARGET_DIR}/release/farm-autoscaler" /image

FROM scratch AS autoscaler
COPY --from=autoscaler-build /image /
USER 10001:10001
EXPOSE 8080 8081
ENTRYPOINT ["/farm-autoscaler"]
ARG IMAGE_SOURCE=https://github.com/rust-farm/rust-farm
ARG IMAGE_REVISION=
LABEL org.opencontainers.image.title="rust-farm autoscaler" \
      org.opencontainers.image.source="${IMAGE_SOURCE}" \
      org.opencontainers.image.revision="${IMAGE_REVISION}" \
      org.opencontainers.image.licenses="Apache-2.0 OR MIT"
