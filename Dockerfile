FROM rust:1.95-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends libssl-dev pkg-config && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN cargo build --release --locked --bin millrace

FROM debian:bookworm-slim
RUN apt-get update && apt-get install -y --no-install-recommends libssl3 ca-certificates && rm -rf /var/lib/apt/lists/*
COPY --from=build /src/target/release/millrace /usr/local/bin/millrace
VOLUME /data
EXPOSE 7432
# Inside of the container every address is its own; who may connect is decided by the ports that are published.
ENTRYPOINT ["millrace", "--listen", "0.0.0.0:7432", "--trust-network", "--data-dir", "/data"]
