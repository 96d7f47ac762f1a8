# The web app for a team: docker build -t anonymize . && docker run -p 7860:7860 -v ./users:/users:ro anonymize --auth /users
# Without --auth or --public it refuses to listen on anything but loopback. Weights are fetched at the build, so that the
# container needs no network later.
FROM python:3.11-slim-bookworm
WORKDIR /app
COPY packages.txt .
RUN apt-get update && xargs -a packages.txt apt-get install -y --no-install-recommends && rm -rf /var/lib/apt/lists/*
RUN useradd --create-home app
COPY --chown=app . .
RUN pip install --no-cache-dir --require-hashes -r requirements.lock && pip install --no-deps --no-build-isolation -e .
USER app
RUN python -c "from anonymize.web.studio import Studio; s = Studio(); s.warm_up(); assert s.ready, s.problem"
EXPOSE 7860
ENTRYPOINT ["python", "app.py", "--host", "0.0.0.0"]
