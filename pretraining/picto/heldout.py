"""What is never trained on: whole icon families, and the nouns of the noun test.

Both lists were fixed before the first training step.
"""

# Families that share artwork are held out together: Phosphor; Font Awesome 5 to 7 and Line
# Awesome, which is drawn after it; Twemoji.
HELD_OUT_SETS = frozenset(
    {
        "ph",
        "fa-solid",
        "fa-regular",
        "fa6-solid",
        "fa6-regular",
        "fa7-solid",
        "fa7-regular",
        "la",
        "twemoji",
    }
)
TRAIN_PACK = "train.zip"
HELDOUT_PACK = "heldout.zip"

# The noun test: icons of held-out families whose whole name is one of these, told apart.
NOUNS = tuple(
    (
        "ambulance anchor bathtub bed bell bicycle bomb bone brain briefcase broom bus camera "
        "carrot cat chair clipboard cloud compass cookie cow dog egg envelope eye feather fish "
        "guitar hamburger hammer horse hospital key keyboard laptop magnet microphone microscope "
        "motorcycle mouse paperclip rainbow robot rocket scissors screwdriver shield shirt shower "
        "skull snowflake star stethoscope sun syringe tent thermometer toilet tooth tornado "
        "tractor train umbrella wheelchair airplane avocado axe backpack balloon basket "
        "binoculars bird bread bridge butterfly cactus cake clover dice door dress drum factory "
        "fan flashlight frog glasses hourglass ladder leaf lemon lightbulb moon mosquito mountain "
        "parachute pizza rabbit spider tree "
    ).split()
)
