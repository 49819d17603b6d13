#compdef PROGRAM
# Completion of PROGRAM for zsh.
_PROGRAM() {
    local reply directive=0 tab=$'\t'
    local -a found
    for reply in "${(@f)$(${words[1]} __complete "${(@)words[2,CURRENT]}" 2>/dev/null)}"; do
        case $reply in
            :[0-9]*) directive=${reply#:} ;;
            '') ;;
            *)
                # A colon ends a candidate here, so those in it are masked.
                reply=${reply//:/\\:}
                found+=("${reply/$tab/:}")
                ;;
        esac
    done
    if (( ${#found} )); then
        _describe -V 'PROGRAM' found
    elif [[ $directive == 0 ]]; then
        _files
    fi
}
if [ "$funcstack[1]" = "_PROGRAM" ]; then
    _PROGRAM "$@"
else
    compdef _PROGRAM PROGRAM
fi
