"""The colours of outlines: the truth and the decision look alike in every image and on every page.

Blue and yellow are told apart by readers of every colour vision, on grey surfaces and on dark ones.
"""

TRUE_RGB, DECIDED_RGB = (0, 158, 255), (255, 200, 0)
