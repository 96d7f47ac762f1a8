# The web app for a team: see compose.yaml, and docs/deploy.md. The weights of the default preset are fetched at the build,
# so that the container needs no network later. Without users or --public the server refuses to listen for others.
FROM python:3.11-slim-bookworm
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1
WORKDIR /app
# Debian's current versions: security updates come with a new build.
COPY packages.txt .
# hadolint ignore=DL3008
RUN apt-get update && xargs -a packages.txt apt-get install -y --no-install-recommends && rm -rf /var/lib/apt/lists/*
COPY . .
# Each file with the hash that the lock names; the headless OpenCV stands in for the other one, so pip adds nothing.
RUN pip install --no-deps --require-hashes -r requirements.lock && pip install --no-deps --no-build-isolation -e . \
    && useradd --uid 1000 --create-home app && mkdir /data /weights && chown app /data /weights
USER 1000
ENV ANONYMIZE_WEIGHTS=/weights HOME=/tmp/home
RUN python -m anonymize models fetch
# Users, and visitors' photos while they are here; weights that are fetched later. Nothing else is written but /tmp.
VOLUME ["/data", "/weights"]
EXPOSE 7860
HEALTHCHECK --interval=30s --timeout=5s --start-period=120s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:7860/healthz', timeout=4)"]
ENTRYPOINT ["python", "app.py", "--host", "0.0.0.0", "--data", "/data"]
CMD ["--auth", "/data/users.txt"]
