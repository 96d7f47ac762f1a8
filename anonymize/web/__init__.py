"""The web app: pages (Gradio), the REST API and the guard around both.

    guard     who may come in, and how much at once: ASGI middleware around every route
    sessions  one visitor's photos, in a folder of their own that is deleted
    studio    photos being worked on: detect once, filter and show often, write what is wanted
    files     the routes that bring photos in and clean photos out, each bound to its visitor
    batch     many photos: an engine run in the background that can be watched and stopped
    api       /api/v1 and /healthz
    ui        the page, one file a tab

Everything that it does is a call of the engine that the command line has too.
"""
