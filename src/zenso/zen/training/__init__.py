"""Training of what turns token states, or one vector, into 7,680 dimensions; needs ``pip install 'zenso[torch]'``.

Nothing of the base package imports this folder.
"""
