# Completion of PROGRAM for bash.
_PROGRAM() {
    local line=${COMP_LINE:0:COMP_POINT} reply directive=0 typed='' prefix candidate
    local -a words
    read -ra words <<< "$line"
    # A blank at the end begins a new word.
    case $line in
        *' ') words+=('') ;;
    esac
    typed=${words[${#words[@]} - 1]}
    # bash takes colons and equal signs for ends of words: what is before the last of them stays.
    prefix=${typed%"${typed##*[:=]}"}
    COMPREPLY=()
    while IFS= read -r reply; do
        case $reply in
            :[0-9]*) directive=${reply#:} ;;
            *)
                candidate=${reply%%$'\t'*}
                COMPREPLY+=("${candidate#"$prefix"}")
                ;;
        esac
    done < <("${words[0]}" __complete "${words[@]:1}" 2>/dev/null)
    if [ "$directive" = 0 ] && [ ${#COMPREPLY[@]} -eq 0 ]; then
        compopt -o filenames 2>/dev/null
        while IFS= read -r reply; do
            COMPREPLY+=("$reply")
        done < <(compgen -f -- "${typed#"$prefix"}")
    fi
    # After an equal sign more is to come.
    case ${COMPREPLY[0]} in
        *=) [ ${#COMPREPLY[@]} -eq 1 ] && compopt -o nospace 2>/dev/null ;;
    esac
    return 0
}
complete -F _PROGRAM PROGRAM
