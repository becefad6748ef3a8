# zenso serve on the CPU; docs/operation.md says how to run it.
FROM python:3.13-slim AS build
WORKDIR /source
COPY . .
# Add llm for chat. With torch, `zenso train` uses a GPU; serving has no use for one.
ARG EXTRAS=otel
RUN python -m venv /opt/zenso && /opt/zenso/bin/pip install --no-cache-dir ".[${EXTRAS}]"

FROM python:3.13-slim
RUN useradd --system --uid 7680 --home-dir /data --create-home zenso
COPY --from=build /opt/zenso /opt/zenso
# Memories, keys and models are all in /data, which is a volume.
ENV PATH=/opt/zenso/bin:$PATH XDG_CONFIG_HOME=/data ZENSO_CACHE=/data/models PYTHONUNBUFFERED=1
USER 7680
WORKDIR /data
VOLUME /data
EXPOSE 7680
HEALTHCHECK --start-period=60s CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:7680/health', timeout=5)"]
ENTRYPOINT ["zenso"]
CMD ["serve", "--host", "0.0.0.0"]
