"""The web app: pages (Gradio), the REST API and the security around both.

    policy    what this server allows, decided at its start
    security  who may come in, and how much at once: ASGI middleware around every route (request_parts: what it
              reads and says itself)
    gradio_wall  what may reach Gradio, and in which form
    limits    how much may come in, by disk, address and minute
    serving   uvicorn with time limits; data_folder: its folder, gone afterwards
    telling   what a visitor is told of an error
    sessions  one visitor's photos, in a folder of their own that is deleted
    detector_pool  what all visitors share: the detectors; opens photos with them
    photo_session  one photo being worked on: filter and show often, correct, write what is wanted
    jobs      many photos: an engine run in the background that can be watched and stopped (job_*: its photos, its
              results, its queue, what the page does and says)
    clip_session  one clip being worked on: searched once, written as often as something changes (clip_*: its process,
              its audit, what the page says of it)
    files     the routes that bring photos and clips in and clean ones out, each bound to its visitor
    api       /api/v1 and /healthz; api_forms: its fields and errors; api_video: /api/v1/videos
    ui        the page, one file a tab (tab_*); controls, elements, results: what tabs are made of
    static    scripts, style, and the longer texts (texts.html, api.md)
    application  all of it as one ASGI app

Everything that it does is a call of the engine that the command line has too.
"""
